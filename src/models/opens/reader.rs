//! Who loads a pixel: somebody who may be reading, or a machine that says what it is? A pure decision on the user agent.
//!
//! It errs on the side of the person: a scanner that calls itself a browser cannot be told apart, and is counted. Why each
//! counts or not is in `docs/adr/0012`, what an open does not prove in `docs/SENDING.md`.

/// Who loads a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A mail program, or the image proxy of a provider on behalf of one.
    Person,
    /// A scanner, a crawler, or a provider that loads pictures whether or not anybody looks.
    Machine,
}

/// What machines call themselves, in lower case: crawlers and link previews as robots.txt knows them, and mail filters.
const MACHINES: [&str; 18] = [
    "bot/",
    "bot;",
    "bot)",
    "crawler",
    "spider",
    "slurp",
    "bingpreview",
    "facebookexternalhit",
    "link preview",
    "linkpreview",
    "virustotal",
    "urlscan",
    "barracuda",
    "mimecast",
    "proofpoint",
    "trendmicro",
    "symantec",
    "scanner",
];

/// Providers that load the pictures of a message nobody has opened, by their whole name in lower case.
const PREFETCHES: [&str; 2] = [
    // Apple's mail privacy, which loads everything for everybody.
    "mozilla/5.0",
    // Gmail, for a reader who has the list of messages open. Its proxy, which loads them for one who opens the message,
    // is `GoogleImageProxy`.
    "mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 (khtml, like gecko) chrome/42.0.2311.135 \
     safari/537.36 edge/12.246 mozilla/5.0",
];

/// Who loads a pixel.
pub fn reader(user_agent: &str) -> Reader {
    let agent = user_agent.trim().to_lowercase();
    let machine = PREFETCHES.contains(&agent.as_str()) || MACHINES.iter().any(|name| agent.contains(name));
    if machine { Reader::Machine } else { Reader::Person }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::outlook("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; ms-office; MSOffice 16)")]
    #[case::thunderbird("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.2")]
    #[case::a_phone("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile")]
    #[case::apple_mail_without_privacy(
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    )]
    #[case::one_called_abbot("Mozilla/5.0 Abbott Mail 2")]
    #[case::edge(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246"
    )]
    #[case::none("")]
    #[case::gmails_proxy(
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
    )]
    #[case::yahoos_proxy("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html")]
    fn whoever_may_be_a_person_counts(#[case] agent: &str) {
        assert_eq!(reader(agent), Reader::Person, "{agent}");
    }

    #[rstest]
    #[case::apples_privacy("Mozilla/5.0")]
    #[case::gmails_prefetch(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
    )]
    #[case::a_crawler("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)")]
    #[case::safe_links("Mozilla/5.0 AppleWebKit/537.36 BingPreview/1.0b")]
    #[case::a_chat("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots; bot)")]
    #[case::a_filter("BarracudaCentral/1.0")]
    fn what_says_that_it_is_a_machine_does_not(#[case] agent: &str) {
        assert_eq!(reader(agent), Reader::Machine, "{agent}");
    }
}
