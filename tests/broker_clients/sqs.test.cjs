// The embedded broker as AWS's SDK for JavaScript sees it. `cargo test --test sqs_server other_clients`
// starts a broker and names it in DTQ_TEST_BROKER_ENDPOINT.
"use strict";

const assert = require("node:assert/strict");
const { createHash, randomUUID } = require("node:crypto");
const { test } = require("node:test");
const sqs = require("@aws-sdk/client-sqs");

const SETTINGS = {
  endpoint: process.env.DTQ_TEST_BROKER_ENDPOINT,
  region: "eu-central-1",
  credentials: { accessKeyId: "any", secretAccessKey: "thing" },
  maxAttempts: 1,
};
const client = new sqs.SQS(SETTINGS);

async function newQueue(Attributes = {}, tags = undefined) {
  const suffix = Attributes.FifoQueue ? ".fifo" : "";
  const made = await client.createQueue({ QueueName: `js-${randomUUID()}${suffix}`, Attributes, tags });
  return made.QueueUrl;
}

async function arnOf(QueueUrl) {
  const found = await client.getQueueAttributes({ QueueUrl, AttributeNames: ["QueueArn"] });
  return found.Attributes.QueueArn;
}

async function receive(QueueUrl, more = {}) {
  const answer = await client.receiveMessage({
    QueueUrl,
    MaxNumberOfMessages: 10,
    MessageSystemAttributeNames: ["All"],
    MessageAttributeNames: ["All"],
    ...more,
  });
  return answer.Messages ?? [];
}

const ATTRIBUTES = {
  text: { DataType: "String", StringValue: "grüße, 世界" },
  label: { DataType: "String.json", StringValue: '{"a": 1}' },
  number: { DataType: "Number", StringValue: "-12.5" },
  integer: { DataType: "Number.int", StringValue: "42" },
  bytes: { DataType: "Binary", BinaryValue: new Uint8Array([0, 1, 254, 255]) },
  picture: { DataType: "Binary.png", BinaryValue: new Uint8Array([137, 80]) },
};

test("queues are made, found, changed, listed by pages and deleted", async () => {
  const prefix = `js-${randomUUID()}`;
  const names = ["a", "b", "c", "d", "e"].map((letter) => `${prefix}-${letter}`);
  for (const QueueName of names) {
    await client.createQueue({ QueueName, Attributes: { VisibilityTimeout: "45" }, tags: { team: "data" } });
  }
  const { QueueUrl } = await client.getQueueUrl({ QueueName: names[0] });
  await client.setQueueAttributes({ QueueUrl, Attributes: { DelaySeconds: "3", ReceiveMessageWaitTimeSeconds: "1" } });
  const { Attributes } = await client.getQueueAttributes({ QueueUrl, AttributeNames: ["All"] });
  assert.equal(Attributes.VisibilityTimeout, "45");
  assert.equal(Attributes.DelaySeconds, "3");
  assert.equal(Attributes.QueueArn.split(":").at(-1), names[0]);

  const pages = [];
  const listing = { client, pageSize: 2 };
  for await (const page of sqs.paginateListQueues(listing, { QueueNamePrefix: prefix })) {
    pages.push(page.QueueUrls.map((url) => url.split("/").at(-1)));
  }
  assert.deepEqual(pages.map((page) => page.length), [2, 2, 1]);
  assert.deepEqual(pages.flat().sort(), names);

  await client.deleteQueue({ QueueUrl });
  await assert.rejects(client.getQueueUrl({ QueueName: names[0] }), sqs.QueueDoesNotExist);
  assert.equal((await client.listQueues({ QueueNamePrefix: `${prefix}-none` })).QueueUrls, undefined);
});

test("tags are set, listed and removed", async () => {
  const QueueUrl = await newQueue({}, { team: "data" });
  await client.tagQueue({ QueueUrl, Tags: { cost: "12", team: "ops" } });
  assert.deepEqual((await client.listQueueTags({ QueueUrl })).Tags, { cost: "12", team: "ops" });
  await client.untagQueue({ QueueUrl, TagKeys: ["cost", "team"] });
  assert.equal((await client.listQueueTags({ QueueUrl })).Tags, undefined);
});

test("a message keeps attributes of all types and its system attributes", async () => {
  const QueueUrl = await newQueue();
  const sent = await client.sendMessage({
    QueueUrl,
    MessageBody: "<body> & \u{1F600}\n",
    MessageAttributes: ATTRIBUTES,
    MessageSystemAttributes: { AWSTraceHeader: { DataType: "String", StringValue: "Root=1-5759e988" } },
  });
  assert.match(sent.MD5OfMessageAttributes, /^[0-9a-f]{32}$/);
  const [message] = await receive(QueueUrl);
  assert.equal(message.MessageId, sent.MessageId);
  assert.equal(message.Body, "<body> & \u{1F600}\n");
  assert.equal(message.MD5OfBody, createHash("md5").update(message.Body).digest("hex"));
  assert.equal(message.MD5OfMessageAttributes, sent.MD5OfMessageAttributes);
  assert.deepEqual(Object.keys(message.MessageAttributes).sort(), Object.keys(ATTRIBUTES).sort());
  for (const [name, { DataType, StringValue, BinaryValue }] of Object.entries(ATTRIBUTES)) {
    const found = message.MessageAttributes[name];
    assert.equal(found.DataType, DataType);
    assert.equal(found.StringValue, StringValue);
    assert.deepEqual(found.BinaryValue, BinaryValue);
  }
  assert.equal(message.Attributes.ApproximateReceiveCount, "1");
  assert.equal(message.Attributes.AWSTraceHeader, "Root=1-5759e988");
  assert.match(message.Attributes.SentTimestamp, /^\d{13}$/);
  assert.ok(message.Attributes.SenderId);

  await client.changeMessageVisibility({ QueueUrl, ReceiptHandle: message.ReceiptHandle, VisibilityTimeout: 0 });
  const [again] = await receive(QueueUrl);
  assert.equal(again.Attributes.ApproximateReceiveCount, "2");
  assert.notEqual(again.ReceiptHandle, message.ReceiptHandle);
  await client.deleteMessage({ QueueUrl, ReceiptHandle: again.ReceiptHandle });
  assert.deepEqual(await receive(QueueUrl, { VisibilityTimeout: 0 }), []);
});

test("the client's own check of MD5 sums is on", async () => {
  const QueueUrl = await newQueue();
  const other = new sqs.SQS(SETTINGS);
  const change = (next) => async (request) => {
    const answered = await next(request);
    for (const one of answered.output.Messages ?? [answered.output]) {
      one["MD5OfBody" in one ? "MD5OfBody" : "MD5OfMessageBody"] = "0".repeat(32);
    }
    return answered;
  };
  other.middlewareStack.add(change, { step: "serialize", priority: "low" });
  await assert.rejects(other.sendMessage({ QueueUrl, MessageBody: "x" }), /checksum/i);
  await assert.rejects(other.receiveMessage({ QueueUrl }), /checksum/i);
});

test("batches are answered entry by entry", async () => {
  const QueueUrl = await newQueue({ DelaySeconds: "0" });
  const sent = await client.sendMessageBatch({
    QueueUrl,
    Entries: [
      { Id: "good", MessageBody: "one", MessageAttributes: ATTRIBUTES },
      { Id: "also", MessageBody: "two" },
      { Id: "bad", MessageBody: "three", DelaySeconds: 901 },
    ],
  });
  assert.deepEqual(sent.Successful.map((one) => one.Id), ["good", "also"]);
  assert.deepEqual(sent.Failed.map((one) => [one.Id, one.Code, one.SenderFault]), [
    ["bad", "InvalidParameterValue", true],
  ]);
  const messages = await receive(QueueUrl);
  assert.deepEqual(messages.map((one) => one.Body).sort(), ["one", "two"]);
  const held = messages.map((one, n) => ({ Id: `${n}`, ReceiptHandle: one.ReceiptHandle }));
  const hidden = await client.changeMessageVisibilityBatch({
    QueueUrl,
    Entries: held.map((one) => ({ ...one, VisibilityTimeout: 100 })),
  });
  assert.equal(hidden.Successful.length, 2);
  assert.equal(hidden.Failed, undefined);
  const deleted = await client.deleteMessageBatch({
    QueueUrl,
    Entries: [...held, { Id: "x", ReceiptHandle: "nonsense" }],
  });
  assert.equal(deleted.Successful.length, 2);
  assert.deepEqual(deleted.Failed.map((one) => [one.Id, one.Code]), [["x", "ReceiptHandleIsInvalid"]]);
});

test("a FIFO queue keeps its groups in order and drops duplicates", async () => {
  const QueueUrl = await newQueue({ FifoQueue: "true", ContentBasedDeduplication: "true" });
  const put = (MessageBody, MessageGroupId) => client.sendMessage({ QueueUrl, MessageBody, MessageGroupId });
  const first = await put("a1", "a");
  assert.match(first.SequenceNumber, /^\d{20}$/);
  assert.equal((await put("a1", "a")).MessageId, first.MessageId);
  await put("a2", "a");
  await put("b1", "b");
  const messages = await receive(QueueUrl);
  const ofGroup = (group) =>
    messages.filter((one) => one.Attributes.MessageGroupId === group).map((one) => one.Body);
  assert.deepEqual([ofGroup("a"), ofGroup("b")], [["a1", "a2"], ["b1"]]);
  assert.equal(messages.find((one) => one.Body === "a1").Attributes.SequenceNumber, first.SequenceNumber);
});

test("dead letters go to their queue, are listed and moved back", async () => {
  const dead = await newQueue();
  const policy = { deadLetterTargetArn: await arnOf(dead), maxReceiveCount: 1 };
  const QueueUrl = await newQueue({ RedrivePolicy: JSON.stringify(policy) });
  const sources = await client.listDeadLetterSourceQueues({ QueueUrl: dead });
  assert.deepEqual(sources.queueUrls, [QueueUrl]);

  await client.sendMessage({ QueueUrl, MessageBody: "poison" });
  assert.equal((await receive(QueueUrl, { VisibilityTimeout: 0 })).length, 1);
  assert.deepEqual(await receive(QueueUrl), []);
  const [letter] = await receive(dead, { VisibilityTimeout: 0, WaitTimeSeconds: 20 });
  assert.equal(letter.Body, "poison");
  assert.equal(letter.Attributes.DeadLetterQueueSourceArn, await arnOf(QueueUrl));

  const { TaskHandle } = await client.startMessageMoveTask({ SourceArn: await arnOf(dead) });
  assert.ok(TaskHandle);
  const [back] = await receive(QueueUrl, { WaitTimeSeconds: 20 });
  assert.equal(back.Body, "poison");
  const tasks = await client.listMessageMoveTasks({ SourceArn: await arnOf(dead) });
  assert.equal(tasks.Results.length, 1);
});

test("a purge empties the queue, and a second one must wait", async () => {
  const QueueUrl = await newQueue();
  await client.sendMessage({ QueueUrl, MessageBody: "x" });
  await client.purgeQueue({ QueueUrl });
  assert.deepEqual(await receive(QueueUrl), []);
  await refused(client.purgeQueue({ QueueUrl }), sqs.PurgeQueueInProgress, "AWS.SimpleQueueService.PurgeQueueInProgress", 403);
});

async function refused(call, kind, code, status = 400) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof kind, `${error.name}: ${error.message}`);
    assert.equal(error.name, kind.name);
    assert.equal(error.Code, code);
    assert.equal(error.Type, "Sender");
    assert.equal(error.$fault, "client");
    assert.equal(error.$metadata.httpStatusCode, status);
    assert.ok(error.$metadata.requestId);
    assert.ok(error.message);
    return true;
  });
}

test("errors are the client's own classes, with the codes of both protocols", async () => {
  const QueueUrl = await newQueue();
  const QueueName = QueueUrl.split("/").at(-1);
  const old = (name) => `AWS.SimpleQueueService.${name}`;
  const none = `${QueueUrl}-none`;
  const entry = { Id: "a", MessageBody: "x" };
  const eleven = Array.from({ length: 11 }, (_, n) => ({ Id: `${n}`, MessageBody: "x" }));
  const batch = (Entries) => client.sendMessageBatch({ QueueUrl, Entries });
  await refused(client.sendMessage({ QueueUrl: none, MessageBody: "x" }), sqs.QueueDoesNotExist, old("NonExistentQueue"));
  await refused(client.createQueue({ QueueName, Attributes: { DelaySeconds: "9" } }), sqs.QueueNameExists, "QueueAlreadyExists");
  await refused(client.deleteMessage({ QueueUrl, ReceiptHandle: "x" }), sqs.ReceiptHandleIsInvalid, "ReceiptHandleIsInvalid", 404);
  await refused(batch([]), sqs.EmptyBatchRequest, old("EmptyBatchRequest"));
  await refused(batch(eleven), sqs.TooManyEntriesInBatchRequest, old("TooManyEntriesInBatchRequest"));
  await refused(batch([entry, entry]), sqs.BatchEntryIdsNotDistinct, old("BatchEntryIdsNotDistinct"));
  await refused(batch([{ ...entry, Id: "a b" }]), sqs.InvalidBatchEntryId, old("InvalidBatchEntryId"));
  await refused(client.sendMessage({ QueueUrl, MessageBody: "\u0001" }), sqs.InvalidMessageContents, "InvalidMessageContents");
  await refused(client.getQueueAttributes({ QueueUrl, AttributeNames: ["Nonsense"] }), sqs.InvalidAttributeName, "InvalidAttributeName");
  await refused(client.setQueueAttributes({ QueueUrl, Attributes: { DelaySeconds: "x" } }), sqs.InvalidAttributeValue, "InvalidAttributeValue");
  await refused(client.listMessageMoveTasks({ SourceArn: "arn:aws:sqs:eu-central-1:000000000000:none" }), sqs.ResourceNotFoundException, "ResourceNotFoundException", 404);
});
