//! Who loads a pixel: somebody who may be reading, or a machine that says what it is? A pure decision on the user agent
//! and on how long ago the message went out.
//!
//! It errs on the side of the person: a scanner that calls itself a browser cannot be told apart, and is counted. What
//! an open does not prove is said in `docs/SENDING.md`.

use std::time::Duration;

/// Who loads a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A mail program, or the image proxy of a provider on behalf of one.
    Person,
    /// A scanner, a crawler, or a proxy that looked before anybody could.
    Machine,
}

/// Nobody opens a message so soon after its server took it; providers look at it then.
const TOO_SOON: Duration = Duration::from_secs(5);

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

/// Image proxies of Google (`GoogleImageProxy`) and Yahoo. Apple's calls itself `Mozilla/5.0` and nothing else.
const PROXIES: [&str; 3] = ["googleimageproxy", "yahoomailproxy", "yahoocachesystem"];

/// Who loads a pixel. `since_sent`: how long ago the last message was accepted, where that is known.
pub fn reader(user_agent: &str, since_sent: Option<Duration>) -> Reader {
    let agent = user_agent.trim().to_lowercase();
    if is_proxy(&agent) {
        let too_soon = since_sent.is_some_and(|passed| passed < TOO_SOON);
        return if too_soon { Reader::Machine } else { Reader::Person };
    }
    if MACHINES.iter().any(|name| agent.contains(name)) { Reader::Machine } else { Reader::Person }
}

fn is_proxy(agent: &str) -> bool {
    agent == "mozilla/5.0" || PROXIES.iter().any(|name| agent.contains(name))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SOON: Option<Duration> = Some(Duration::from_secs(2));
    const LATER: Option<Duration> = Some(Duration::from_secs(60));
    const GMAIL: &str =
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";
    const YAHOO: &str = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html";

    #[rstest]
    #[case::outlook("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; ms-office; MSOffice 16)", SOON)]
    #[case::thunderbird("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.2", SOON)]
    #[case::a_phone(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile",
        SOON
    )]
    #[case::one_called_abbot("Mozilla/5.0 Abbott Mail 2", LATER)]
    #[case::none("", SOON)]
    #[case::gmail(GMAIL, LATER)]
    #[case::gmail_of_an_uncertain_message(GMAIL, None)]
    #[case::yahoo(YAHOO, LATER)]
    #[case::apple("Mozilla/5.0", LATER)]
    fn whoever_may_be_a_person_counts(#[case] agent: &str, #[case] since: Option<Duration>) {
        assert_eq!(reader(agent, since), Reader::Person, "{agent}");
    }

    #[rstest]
    #[case::a_proxy_at_arrival(GMAIL, SOON)]
    #[case::apples_prefetch("Mozilla/5.0", SOON)]
    #[case::yahoo_at_arrival(YAHOO, SOON)]
    #[case::a_crawler("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", LATER)]
    #[case::safe_links("Mozilla/5.0 AppleWebKit/537.36 BingPreview/1.0b", LATER)]
    #[case::a_chat("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots; bot)", LATER)]
    #[case::a_filter("BarracudaCentral/1.0", LATER)]
    fn what_says_that_it_is_a_machine_does_not(#[case] agent: &str, #[case] since: Option<Duration>) {
        assert_eq!(reader(agent, since), Reader::Machine, "{agent}");
    }
}
