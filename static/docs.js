// The page to try the API: Swagger UI on our own document; no request leaves this origin.

const place = document.getElementById("swagger-ui");

SwaggerUIBundle({
  url: place.dataset.documentUrl,
  domNode: place,
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
