//! Nothing that IANA sets aside is ever dialled, however it is spelled and whenever a name changes its mind.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use ipnet::IpNet;
use proptest::prelude::*;
use rstest::rstest;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use testkit::sink::Identity;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    models::WebhookUrl,
    net::{
        DialPolicy,
        resolve::{Dns, DnsError},
    },
};

const BLOCKS: &str = include_str!("../../tests/data/special_purpose_blocks.txt");

fn blocks() -> Vec<IpNet> {
    let lines = BLOCKS.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

/// An address of one of the blocks.
fn set_aside() -> impl Strategy<Value = IpAddr> {
    (prop::sample::select(blocks()), any::<u128>()).prop_map(|(block, bits)| match block {
        IpNet::V4(block) => {
            let bits = u32::try_from(bits & u128::from(u32::MAX)).unwrap();
            IpAddr::V4((u32::from(block.network()) | (bits & u32::from(block.hostmask()))).into())
        }
        IpNet::V6(block) => {
            IpAddr::V6((u128::from(block.network()) | (bits & u128::from(block.hostmask()))).into())
        }
    })
}

/// Ways to write an address as the host of a URL.
fn spellings(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            let [a, b, c, d] = address.octets();
            let (low, lower) = (bits & 0x00ff_ffff, bits & 0xffff);
            let (high, half) = (u16::try_from(bits >> 16).unwrap(), u16::try_from(lower).unwrap());
            vec![
                format!("{address}"),
                format!("{address}."),
                format!("{bits}"),
                format!("0x{bits:x}"),
                format!("0{bits:o}"),
                format!("{a}.{low}"),
                format!("{a}.{b}.{lower}"),
                format!("0x{a:X}.0{b:o}.{c}.{d}"),
                format!("%3{bits}"),
                format!("[{}]", address.to_ipv6_mapped()),
                format!("[::ffff:{high:x}:{half:x}]"),
                format!("[0:0:0:0:0:ffff:{address}]"),
                format!("[{}]", Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, half)),
                format!("[{}]", Ipv6Addr::new(0x2002, high, half, 0, 0, 0, 0, 1)),
            ]
        }
        IpAddr::V6(address) => {
            let groups = address.segments();
            let long = groups.map(|group| format!("{group:04X}")).join(":");
            let (first, last) = groups.split_at(6);
            let first: Vec<String> = first.iter().map(|group| format!("{group:x}")).collect();
            let last = Ipv4Addr::from(u32::from(last[0]) << 16 | u32::from(last[1]));
            vec![format!("[{address}]"), format!("[{long}]"), format!("[{}:{last}]", first.join(":"))]
        }
    }
}

/// A name that is at a public address when it is looked at, and elsewhere ever after.
struct Rebinding {
    asked: AtomicUsize,
    later: IpAddr,
}

#[async_trait]
impl Dns for Rebinding {
    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, DnsError> {
        let first = self.asked.fetch_add(1, Ordering::Relaxed) == 0;
        Ok(vec![if first { IpAddr::from([8, 8, 8, 8]) } else { self.later }])
    }

    async fn mail_exchangers(&self, _: &str) -> Result<Vec<String>, DnsError> {
        Err(DnsError::NoRecords)
    }
}

fn dialer(allow_private: bool, later: IpAddr) -> Dialer {
    let policy = DialPolicy { allow_private, allow_plain_mail: false };
    Dialer::with(policy, Arc::new(Rebinding { asked: AtomicUsize::new(0), later }), &[]).unwrap()
}

async fn post(client: &HttpClient, url: &str) -> Result<Answer, HttpError> {
    client.post(url, &[], Bytes::from_static(b"{}"), Duration::from_secs(5)).await
}

/// `None`: it was refused before anything was dialled.
fn dialled(answer: &Result<Answer, HttpError>) -> Option<String> {
    match answer {
        Err(HttpError::Dial(DialError::Internal | DialError::Dns) | HttpError::Request) => None,
        other => Some(format!("{other:?}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_is_set_aside_is_dialled_in_any_spelling(address in set_aside(), port in 1_u16..) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = HttpClient::new(dialer(false, address));
            for host in spellings(address) {
                for scheme in ["http", "https"] {
                    let text = format!("{scheme}://{host}:{port}/hook");
                    prop_assert_eq!(dialled(&post(&client, &text).await), None, "{}", text);
                    if let Ok(url) = WebhookUrl::parse(&text) {
                        prop_assert_eq!(dialled(&post(&client, url.as_str()).await), None, "{}", url);
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_name_that_moves_to_a_set_aside_address_is_not_dialled(address in set_aside()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dialer = dialer(false, address);
            prop_assert!(dialer.vet("moves.example").await.is_ok(), "registered while it was public");
            let client = HttpClient::new(dialer);
            for _ in 0..2 {
                let answer = post(&client, "http://moves.example/hook").await;
                prop_assert_eq!(answer, Err(HttpError::Dial(DialError::Internal)));
            }
            Ok(())
        })?;
    }
}

#[rstest]
#[case("127.0.0.1")]
#[case("0x7f.1")]
#[case("2130706433")]
#[case("[::ffff:127.0.0.1]")]
#[case("moves.example")]
#[tokio::test]
async fn a_listener_on_loopback_hears_nothing_unless_the_operator_allows_it(#[case] host: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{host}:{}/hook", listener.local_addr().unwrap().port());
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let refusing = dialer(false, loopback);
    refusing.vet("moves.example").await.unwrap();
    let answer = post(&HttpClient::new(refusing), &url).await;
    assert_eq!(answer, Err(HttpError::Dial(DialError::Internal)));
    let allowing = dialer(true, loopback);
    allowing.vet("moves.example").await.unwrap();
    let client = HttpClient::new(allowing);
    let (answer, ()) = tokio::join!(post(&client, &url), async {
        // The first to be heard is the one that is allowed.
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    });
    assert_eq!(answer, Ok(Answer { status: 204, retry_after: None }));
}

/// The head of the next request, without its body.
async fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"{}") {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "the connection was closed");
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_connection_whose_answer_was_read_to_its_end_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let client = HttpClient::new(dialer(true, Ipv4Addr::LOCALHOST.into()));
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            tokio::select! {
                _ = request(&mut stream) => {}
                _ = listener.accept() => panic!("a second connection was made"),
            }
            // Two frames of a body: the first alone is not its end.
            let answer =
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    };
    let calls = async {
        for _ in 0..2 {
            assert_eq!(post(&client, &url).await, Ok(Answer { status: 200, retry_after: None }));
        }
    };
    tokio::join!(server, calls);
}

#[tokio::test]
async fn a_connection_that_is_shut_down_is_closed_for_its_server_while_it_can_still_be_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut stream = HttpStream(TokioIo::new(Either::Left(stream)));
    let (mut server, _) = listener.accept().await.unwrap();
    std::future::poll_fn(|cx| Write::poll_shutdown(Pin::new(&mut stream), cx)).await.unwrap();
    let end = timeout(Duration::from_secs(10), server.read_u8()).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    drop(stream);
}

/// TLS takes more than the socket does: what it keeps goes out when it is flushed, and not before.
#[tokio::test]
async fn what_tls_took_from_us_is_on_its_way_once_it_is_flushed() {
    let identity = Identity::generate(&["127.0.0.1".to_owned()]).unwrap();
    let root = CertificateDer::from_pem_slice(identity.ca_pem().unwrap().as_bytes()).unwrap();
    let policy = DialPolicy { allow_private: true, allow_plain_mail: false };
    let dns = Rebinding { asked: AtomicUsize::new(0), later: Ipv4Addr::LOCALHOST.into() };
    let dialer = Dialer::with(policy, Arc::new(dns), &[root]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let within = Duration::from_secs(10);
    let ours = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let tls = dialer.wrap_tls("127.0.0.1", tcp, within).await.unwrap();
        HttpStream(TokioIo::new(Either::Right(Box::new(tls))))
    };
    let acceptor = identity.acceptor().unwrap();
    let theirs = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let (mut stream, mut server) = tokio::join!(ours, theirs);

    // Nobody reads: it takes what it can keep, and the socket is full.
    let mut taken = 0;
    while let Some(more) =
        std::future::poll_fn(|cx| Write::poll_write(Pin::new(&mut stream), cx, &[7; 9000])).now_or_never()
    {
        taken += more.unwrap();
    }
    let read = async { server.read_exact(&mut vec![0; taken]).await.map(drop) };
    let flush = std::future::poll_fn(|cx| Write::poll_flush(Pin::new(&mut stream), cx));
    let both = timeout(within, futures_util::future::try_join(flush, read)).await;
    both.unwrap().unwrap();
}

#[tokio::test]
async fn more_of_a_body_than_anybody_needs_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let client = HttpClient::new(dialer(true, Ipv4Addr::LOCALHOST.into()));
    let started = Instant::now();
    let (answer, ()) = tokio::join!(post(&client, &url), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        stream.write_all(&vec![b'x'; ANSWER_BYTES * 2]).await.unwrap();
        // It stays silent, and open until the client has closed it.
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    });
    assert_eq!(answer, Ok(Answer { status: 200, retry_after: None }));
    assert!(started.elapsed() < BODY_WITHIN);
}

#[rstest]
#[case("120", Some("120"))]
#[case("Wed, 21 Oct 2026 07:28:00 GMT", Some("Wed, 21 Oct 2026 07:28:00 GMT"))]
#[case(&"1".repeat(64), Some(&*"1".repeat(64)))]
#[case(&"1".repeat(65), None)]
#[tokio::test]
async fn a_retry_after_is_kept_as_it_came_up_to_a_length(#[case] sent: &str, #[case] kept: Option<&str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let client = HttpClient::new(dialer(true, Ipv4Addr::LOCALHOST.into()));
    let (answer, ()) = tokio::join!(post(&client, &url), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        let answer = format!("HTTP/1.1 503 Busy\r\nRetry-After: {sent}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    assert_eq!(answer, Ok(Answer { status: 503, retry_after: kept.map(str::to_owned) }));
}
