// Reads the pages of /docs as people do, at the width of a desk and of a phone.
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const [base, executablePath, profile, pictures] = process.argv.slice(2);
const quiet = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const widths = { desk: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };
const wrong = [];

function watch(page, place) {
  page.on("request", (request) => {
    const address = request.url();
    const own = address.startsWith(base) || /^(data|blob|about):/.test(address);
    if (!own) wrong.push(`${place}: asked ${address}`);
  });
  page.on("requestfailed", (request) => wrong.push(`${place}: ${request.url()} failed: ${request.failure()?.errorText}`));
  page.on("response", (answer) => { if (answer.status() >= 400) wrong.push(`${place}: ${answer.url()} ${answer.status()}`); });
  page.on("pageerror", (error) => wrong.push(`${place}: ${error}`));
  // What the policy stops is told as an error of the console.
  page.on("console", (line) => { if (line.type() === "error") wrong.push(`${place}: ${line.text()}`); });
}

async function mustShow(page, place, text) {
  try {
    await page.getByText(text).filter({ visible: true }).first().waitFor({ timeout: 60_000 });
  } catch {
    wrong.push(`${place}: does not show ${text}`);
  }
}

async function mustFit(page, place) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (over > 1) wrong.push(`${place}: is ${over} pixels wider than the window`);
}

const pages = {
  docs: ["/docs", "Import contacts under a name"],
  errors: ["/docs/errors", "Every answer that is not a success"],
  error: ["/docs/errors/rate_limited", "What to do"],
};

mkdirSync(pictures, { recursive: true });
for (const [width, viewport] of Object.entries(widths)) {
  const context = await chromium.launchPersistentContext(`${profile}-${width}`, { executablePath, headless: true, args: quiet, viewport });
  for (const [name, [path, text]] of Object.entries(pages)) {
    const page = await context.newPage();
    const place = `${path} (${width})`;
    watch(page, place);
    await page.goto(`${base}${path}`);
    await mustShow(page, place, text);
    await mustFit(page, place);
    await page.screenshot({ path: `${pictures}/${name}-${width}.png` });
    if (name === "docs") {
      // An operation: what it takes and what it answers, and its sample.
      const operation = page.locator('[id="tag/Contacts/operation/create_contact_import"]');
      await operation.evaluate((section) => section.scrollIntoView());
      for (const text of ["/contact_imports", "text/csv", "no_contacts_provided"]) {
        const found = await operation.getByText(text).count();
        if (found === 0) wrong.push(`${place}: the operation does not show ${text}`);
      }
      await page.screenshot({ path: `${pictures}/operation-${width}.png` });
    }
    await page.close();
  }
  await context.close();
}
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
console.log("every page was drawn, at both widths, by this server alone");
