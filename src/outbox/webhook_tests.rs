#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use tokio::sync::mpsc::unbounded_channel;

use super::*;

fn note() -> Note {
    Note {
        effect_key: "closed-beta-1/1/4/support".into(),
        title: "Pulling back <now>".into(),
        text: "Sync & more @everyone".into(),
        at: "2026-03-20T16:00:00Z".parse().unwrap(),
    }
}

fn webhook(url: &str) -> Webhook {
    // The process's provider, as main sets it; a second setting is refused, and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Webhook::new(SecretString::from(url)).unwrap()
}

async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/hook?token=hunter2")
}

#[test]
fn the_address_tells_what_the_other_side_understands() {
    assert_eq!(webhook("https://hooks.slack.com/services/T0/B0/x").shape(), Shape::Slack);
    assert_eq!(webhook("https://discord.com/api/webhooks/1/x").shape(), Shape::Discord);
    assert_eq!(webhook("https://chat.example/hooks/slack.com").shape(), Shape::Json);
    assert!(Webhook::new(SecretString::from("ftp://x")).is_err());
    assert!(Webhook::new(SecretString::from("hunter2")).err().unwrap().to_string().find("hunter2").is_none());
}

#[test]
fn bodies_are_escaped_cut_and_mention_nobody() {
    let slack = Shape::Slack.body(&note());
    assert_eq!(slack["text"], "*Pulling back &lt;now&gt;*\nSync &amp; more @everyone");
    let long = Note { text: "é".repeat(3000), ..note() };
    let discord = Shape::Discord.body(&long);
    assert_eq!(discord["content"].as_str().unwrap().chars().count(), DISCORD_CHARACTERS);
    assert_eq!(discord["allowed_mentions"]["parse"], json!([]));
}

#[tokio::test]
async fn plain_json_arrives_with_its_key() {
    let (heard, mut arrived) = unbounded_channel();
    let app = Router::new().route(
        "/hook",
        post(move |headers: HeaderMap, body: String| async move {
            let key = headers["idempotency-key"].to_str().unwrap().to_owned();
            heard.send((key, serde_json::from_str::<Value>(&body).unwrap())).unwrap();
        }),
    );
    let receipt = webhook(&serve(app).await).deliver(&note()).await.unwrap();
    let (key, body) = arrived.recv().await.unwrap();
    assert_eq!(key, effect_digest("closed-beta-1/1/4/support"));
    assert_eq!((receipt.way.as_str(), receipt.reference), ("json", key.clone()));
    let (title, at) = ("Pulling back <now>", "2026-03-20T16:00:00Z");
    assert_eq!(body, json!({ "title": title, "text": "Sync & more @everyone", "key": key, "at": at }));
}

#[tokio::test]
async fn an_answer_tells_whether_to_try_again_and_no_error_tells_the_address() {
    let answer = async |status: u16| {
        let code = StatusCode::from_u16(status).unwrap();
        let app = Router::new().route("/hook", post(move || async move { (code, [("retry-after", "7")], "hunter2") }));
        webhook(&serve(app).await).deliver(&note()).await.unwrap_err()
    };
    let throttled = answer(429).await;
    assert_eq!(
        throttled,
        DeliveryError::Later { reason: "the webhook says later (429)".into(), after: Some(Duration::from_secs(7)) }
    );
    assert!(answer(503).await.retryable());
    assert!(!answer(404).await.retryable());
    assert!(!answer(302).await.retryable(), "a redirect is not followed");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = webhook(&format!("http://{closed}/hook?token=hunter2")).deliver(&note()).await.unwrap_err();
    assert!(gone.retryable());
    assert!(!format!("{gone:?}").contains("hunter2"));
    let lost = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = lost.local_addr().unwrap();
    tokio::spawn(async move { drop(lost.accept().await) });
    let lost = webhook(&format!("http://{address}/hook?token=hunter2")).deliver(&note()).await.unwrap_err();
    assert!(lost.uncertain() && !format!("{lost:?}").contains("hunter2"), "{lost:?}");
}
