// Swagger UI on the document of this very service. Nothing leaves it: no validator of elsewhere is asked.
"use strict";

window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#documents",
  deepLinking: true,
  validatorUrl: null,
  presets: [window.SwaggerUIBundle.presets.apis],
});
