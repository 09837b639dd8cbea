// What a client would write with the types that openapi-typescript makes: sign up, import, enroll, dispatch.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const [base, port] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: base! });

function must<T>(answer: { data?: T; error?: { code: string; message: string }; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.status} ${answer.error?.code}: ${answer.error?.message}`);
  }
  return answer.data;
}

const account = must(await api.POST("/signup", { body: { email: "owner@example.com" } }));
api.use({
  onRequest({ request }) {
    request.headers.set("authorization", `Bearer ${account.api_key.plaintext}`);
    return request;
  },
});

const contacts = ["ada", "grace", "mary"].map((name) => ({ email: `${name}@example.com`, first_name: name }));
const imported = must(await api.POST("/contact_imports", { body: { contact_import: { name: "People", contacts } } }));

const campaign = must(await api.POST("/campaigns", {
  body: {
    campaign: {
      name: "Spring",
      min_wait_seconds: 0,
      max_wait_seconds: 0,
      smtp_credentials: [{
        smtp_host: "127.0.0.1", smtp_port: Number(port), smtp_username: "u", smtp_password: "p",
        from_name: "Sender", from_email: "sender@example.com", daily_limit: 10,
      }],
      sequence_steps: [{ position: 1, subject: "Hello {{first_name}}", body_html: "<p>Hello {{first_name}}</p>" }],
    },
  },
}));

must(await api.POST("/campaigns/{campaign_id}/enroll", {
  params: { path: { campaign_id: campaign.id } },
  body: { contact_import_id: imported.id },
}));
const path = { id: campaign.id };
const dispatched = must(await api.POST("/campaigns/{id}/dispatch", { params: { path }, body: {} }));

const end = Date.now() + 60_000;
for (;;) {
  const { status, totals } = must(await api.GET("/campaigns/{id}", { params: { path } }));
  if (totals.sent === contacts.length && status === "completed") break;
  if (Date.now() > end) throw new Error(`not sent within 60 s: ${status} ${JSON.stringify(totals)}`);
  await new Promise((resolve) => setTimeout(resolve, 200));
}

const refused = await api.GET("/campaigns/{id}", { params: { path: { id: imported.id } } });
if (refused.error?.code !== "campaign_not_found") throw new Error("a refusal is not typed as it came");
console.log(`the generated client dispatched ${dispatched.dispatched} enrollments, and all were sent`);
