//! The pages on the API: the reference, and one on each error code.

use ampout::errors::Code;

use crate::support::world;

/// What a page loads or leads to.
fn addresses(page: &str) -> Vec<String> {
    let after = |name: &str| -> Vec<String> {
        page.split(&format!("{name}=\""))
            .skip(1)
            .filter_map(|rest| rest.split('"').next().map(str::to_owned))
            .collect()
    };
    [after("src"), after("href")].concat()
}

#[tokio::test]
async fn every_code_has_a_page_with_its_meaning_a_sample_and_what_to_do() {
    world(|w| async move {
        for code in Code::ALL {
            let answer = w.server.get(&format!("/docs/errors/{}", code.as_str())).await;
            answer.assert_status_ok();
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
            let page = answer.text();
            assert!(!page.contains("{{") && !page.contains('`'), "{page}");
            let sample = format!("\"code\": \"{}\"", code.as_str());
            for part in [&sample, "\"message\": ", &format!("HTTP status {}", code.status())] {
                assert!(page.contains(part), "{part} is not in {page}");
            }
            for text in [code.meaning(), code.remedy()] {
                let first = text.split(['`', '\'']).next().unwrap();
                assert!(page.contains(first), "{first} is not in {page}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_list_of_errors_leads_to_every_code() {
    world(|w| async move {
        let page = w.server.get("/docs/errors").await.text();
        let found = addresses(&page);
        for code in Code::ALL {
            let of_code = format!("/docs/errors/{}", code.as_str());
            assert!(found.contains(&of_code), "{of_code} is not in {page}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_code_has_no_page() {
    world(|w| async move {
        for code in ["nonsense", "NOT_FOUND", "not_found.html", "%FF", "%3Cscript%3E"] {
            let answer = w.server.get(&format!("/docs/errors/{code}")).await;
            assert_eq!(answer.status_code().as_u16(), 404, "{code}");
            assert_eq!(answer.json::<serde_json::Value>()["code"], "not_found", "{code}");
        }
    })
    .await;
}

#[tokio::test]
async fn pages_load_only_what_this_server_has_and_run_no_script_of_their_own() {
    world(|w| async move {
        for path in ["/docs", "/docs/errors", "/docs/errors/not_found"] {
            let answer = w.server.get(path).await;
            let policy = answer.header("content-security-policy");
            let policy = policy.to_str().unwrap();
            assert!(
                policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
                "{policy}"
            );
            assert!(!policy.contains("http"), "{policy}");
            let page = answer.text();
            assert!(!page.contains("<script>"), "{path}");
            for address in addresses(&page).iter().filter(|address| *address != "data:,") {
                w.server.get(address).await.assert_status_ok();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_reference_knows_no_picture_of_another_server() {
    world(|w| async move {
        let script = w.server.get("/docs/redoc.js").await.text();
        assert!(script.contains("data:,"), "the picture is taken out of it (assets/docs/redoc/README.md)");
        assert!(!script.contains("cdn.redoc"), "the browsers of readers would ask its maker's server");
    })
    .await;
}
