//! Accounts by the access key id a client signs with: twelve digits are one, all else is the default.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Name;

use crate::sqs::{new_name, shared, wait_for};

const ONE: &str = "111111111111";
const TWO: &str = "222222222222";

async fn make(client: &Client, name: &str) -> String {
    let made = client.create_queue().queue_name(name).send().await;
    made.unwrap().queue_url.unwrap()
}

async fn send(client: &Client, url: &str, body: &str) {
    let call = client.send_message().queue_url(url).message_body(body);
    call.send().await.unwrap();
}

async fn bodies(client: &Client, url: &str) -> Vec<String> {
    let call = client.receive_message().queue_url(url);
    let found = call.max_number_of_messages(10).send().await.unwrap();
    let messages = found.messages.unwrap_or_default();
    messages
        .into_iter()
        .map(|message| message.body.unwrap())
        .collect()
}

async fn listed(client: &Client, prefix: &str) -> Vec<String> {
    let call = client.list_queues().queue_name_prefix(prefix);
    call.send().await.unwrap().queue_urls.unwrap_or_default()
}

#[tokio::test]
async fn each_account_has_queues_of_its_own_and_its_number_in_urls_and_arns() {
    let sqs = shared();
    let [one, two] = [ONE, TWO].map(|key| sqs.server.client_with(key, "any"));
    let name = new_name("");
    let urls = [
        make(&sqs.client, &name).await,
        make(&one, &name).await,
        make(&two, &name).await,
    ];
    for (url, account) in urls.iter().zip(["000000000000", ONE, TWO]) {
        assert!(url.ends_with(&format!("/{account}/{name}")), "{url}");
        let asked = one.get_queue_attributes().queue_url(url);
        let found = asked.attribute_names(Name::QueueArn).send().await.unwrap();
        let arn = &found.attributes.unwrap()[&Name::QueueArn];
        assert_eq!(*arn, format!("arn:aws:sqs:us-east-1:{account}:{name}"));
    }
    for (client, url) in [&sqs.client, &one, &two].into_iter().zip(&urls) {
        assert_eq!(listed(client, &name).await, [url.as_str()]);
        let found = client.get_queue_url().queue_name(&name);
        assert_eq!(found.send().await.unwrap().queue_url.unwrap(), **url);
        send(client, url, url).await;
    }
    // Whoever has a queue's URL reaches it.
    assert_eq!(bodies(&two, &urls[1]).await, [urls[1].as_str()]);
    assert_eq!(bodies(&sqs.client, &urls[2]).await, [urls[2].as_str()]);
    assert_eq!(bodies(&one, &urls[0]).await, [urls[0].as_str()]);
}

#[tokio::test]
async fn a_queue_of_another_account_is_found_by_naming_the_account_only() {
    let sqs = shared();
    let [one, two] = [ONE, TWO].map(|key| sqs.server.client_with(key, "any"));
    let name = new_name("");
    let url = make(&one, &name).await;
    for stranger in [&two, &sqs.client] {
        assert!(listed(stranger, &name).await.is_empty());
        let found = stranger.get_queue_url().queue_name(&name).send().await;
        let error = found.unwrap_err().into_service_error();
        assert!(error.is_queue_does_not_exist(), "{error}");
        let asked = stranger.get_queue_url().queue_name(&name);
        let found = asked.queue_owner_aws_account_id(ONE).send().await.unwrap();
        assert_eq!(found.queue_url.unwrap(), url);
    }
    // A name with a slash does not lead into an account.
    let forged = format!("{ONE}/{name}");
    let made = sqs.client.create_queue().queue_name(&forged).send().await;
    assert!(made.is_err());
    let found = sqs.client.get_queue_url().queue_name(&forged).send().await;
    assert!(found.is_err());
}

#[tokio::test]
async fn dead_letters_and_move_tasks_stay_within_an_account() {
    let sqs = shared();
    let one = sqs.server.client_with(ONE, "any");
    let (name, dead) = (new_name(""), new_name("-dead"));
    let dead_url = make(&one, &dead).await;
    make(&sqs.client, &dead).await;
    let policy = |account: &str| {
        let arn = format!("arn:aws:sqs:us-east-1:{account}:{dead}");
        format!("{{\"deadLetterTargetArn\":\"{arn}\",\"maxReceiveCount\":1}}")
    };
    let create = |account: &str| {
        let call = one.create_queue().queue_name(&name);
        call.attributes(Name::RedrivePolicy, policy(account))
            .attributes(Name::VisibilityTimeout, "0")
            .send()
    };
    let refused = create("000000000000").await.unwrap_err();
    let text = format!("{:?}", refused.into_service_error());
    assert!(text.contains("owner should be same"), "{text}");
    let url = create(ONE).await.unwrap().queue_url.unwrap();
    send(&one, &url, "x").await;
    assert_eq!(bodies(&one, &url).await, ["x"]);
    assert!(bodies(&one, &url).await.is_empty());
    let sources = one.list_dead_letter_source_queues().queue_url(&dead_url);
    assert_eq!(sources.send().await.unwrap().queue_urls, [url.as_str()]);
    let arn = format!("arn:aws:sqs:us-east-1:{ONE}:{dead}");
    let moving = one.start_message_move_task().source_arn(&arn).send().await;
    moving.unwrap();
    wait_for("the dead letter is back", async || {
        !bodies(&one, &url).await.is_empty()
    })
    .await;
}
