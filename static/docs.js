// The page to try the API: Swagger UI on our own document; no request leaves this origin.

const place = document.getElementById("swagger-ui");

SwaggerUIBundle({
  url: place.dataset.documentUrl,
  domNode: place,
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const token = document.querySelector('meta[name="csrf-token"]')?.content;
    if (token) request.headers["X-CSRF-Token"] = token;
    return request;
  },
  presets: [SwaggerUIBundle.presets.apis],
});
