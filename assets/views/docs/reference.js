// Draws the document of this server; nothing is asked of another one.
Redoc.init("/openapi.json", {
  disableSearch: false,
  expandResponses: "200,201,202",
  hideDownloadButton: true,
  nativeScrollbars: true,
  requiredPropsFirst: true,
  sortPropsAlphabetically: false,
  scrollYOffset: 48,
  theme: {
    spacing: { sectionVertical: 18 },
    colors: { primary: { main: "#1f5fbf" } },
    typography: {
      fontFamily: "system-ui, sans-serif",
      headings: { fontFamily: "system-ui, sans-serif", fontWeight: "600" },
      code: { fontFamily: "ui-monospace, Menlo, Consolas, monospace", wrap: true },
    },
  },
}, document.getElementById("reference"));
