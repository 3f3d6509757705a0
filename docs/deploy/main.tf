# Queues with dead letters, a bucket for large messages, and the least that workers and senders may do.
# Not applied by this repository's tests: `terraform fmt` parses it.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "The base queue's name"
  default     = "dagster-tasks"
}

variable "bands" {
  description = "Suffixes of further queues: the bands of priority_bands but normal, and runs"
  type        = set(string)
  default     = ["runs"]
}

locals {
  queues = merge({ "" = var.name }, { for band in var.bands : band => "${var.name}-${band}" })
}

resource "aws_sqs_queue" "dead" {
  for_each                  = local.queues
  name                      = "${each.value}-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "tasks" {
  for_each                   = local.queues
  name                       = each.value
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 60
  sqs_managed_sse_enabled    = true
  # Far above the worker's max_deliveries: SQS moves a message without a word to anybody.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = 100
  })
}

resource "aws_s3_bucket" "large" {
  bucket_prefix = "${var.name}-"
}

resource "aws_s3_bucket_lifecycle_configuration" "large" {
  bucket = aws_s3_bucket.large.id
  # A message is kept for 14 days, and as a dead letter, which is sent anew, for 14 more. Its object is not sent
  # anew, and is still needed when the dead letter is redriven on its last day.
  rule {
    id     = "older than any message and its dead letter"
    status = "Enabled"
    filter {}
    expiration {
      days = 30
    }
  }
}

data "aws_iam_policy_document" "worker" {
  statement {
    actions = [
      "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
      "sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
    ]
    resources = concat(
      [for queue in aws_sqs_queue.tasks : queue.arn],
      [for queue in aws_sqs_queue.dead : queue.arn],
    )
  }
  statement {
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.large.arn}/*"]
  }
  # Without it S3 answers 403, not 404, for an object that does not exist, and a message whose object is
  # gone is tried again for ever.
  statement {
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.large.arn]
  }
}

data "aws_iam_policy_document" "sender" {
  statement {
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [for queue in aws_sqs_queue.tasks : queue.arn]
  }
  statement {
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.large.arn}/*"]
  }
}

resource "aws_iam_policy" "worker" {
  name   = "${var.name}-worker"
  policy = data.aws_iam_policy_document.worker.json
}

resource "aws_iam_policy" "sender" {
  name   = "${var.name}-sender"
  policy = data.aws_iam_policy_document.sender.json
}

output "queue_url" {
  value = aws_sqs_queue.tasks[""].url
}

output "s3_bucket_name" {
  value = aws_s3_bucket.large.bucket
}
