// Swagger UI with the OpenAPI document of this service. No external validator is used: no data leaves the service.
"use strict";

window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#documents",
  deepLinking: true,
  validatorUrl: null,
  presets: [window.SwaggerUIBundle.presets.apis],
});
