// Swagger UI for the OpenAPI document of this service. Without a validator URL it sends nothing to another server.
"use strict";

window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#documents",
  deepLinking: true,
  validatorUrl: null,
  presets: [window.SwaggerUIBundle.presets.apis],
});
