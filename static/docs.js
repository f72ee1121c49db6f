// The page to try the API: Swagger UI with this server's document; all requests go to this origin.

const place = document.getElementById("swagger-ui");

SwaggerUIBundle({
  url: place.dataset.documentUrl,
  domNode: place,
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
