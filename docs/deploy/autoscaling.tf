# ECS: as many workers as the backlog asks for. The target is messages, waiting and in flight, that one worker
# is to have: twice its slots. Container Insights must be on for the cluster: it counts the tasks. Not applied by this
# repository's tests: `terraform fmt` parses it.
#
# ECS stops a task within its `stopTimeout`, on Fargate 120 s at most. Steps that are interrupted by that are tried again
# elsewhere, and fail once that happened `max_worker_lost_retries` times. Where steps take longer, use EC2 with a longer
# timeout, or let each worker turn on ECS's task scale-in protection while it has steps.

variable "cluster" {
  description = "The ECS cluster's name"
}

variable "service" {
  description = "The ECS service whose tasks are workers"
}

variable "queues" {
  description = "Names of the queues that the workers receive from: base, runs, bands; four at most (CloudWatch takes ten metrics)"
  type        = list(string)
  default     = ["dagster-tasks", "dagster-tasks-runs"]
}

variable "messages_per_worker" {
  default = 16
}

resource "aws_appautoscaling_target" "workers" {
  service_namespace  = "ecs"
  resource_id        = "service/${var.cluster}/${var.service}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = 1
  max_capacity       = 20
}

resource "aws_appautoscaling_policy" "backlog" {
  name               = "${var.service}-backlog"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.workers.service_namespace
  resource_id        = aws_appautoscaling_target.workers.resource_id
  scalable_dimension = aws_appautoscaling_target.workers.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value      = var.messages_per_worker
    scale_in_cooldown = 600

    customized_metric_specification {
      metrics {
        id          = "backlog"
        label       = "Messages for each worker"
        expression  = "SUM([${join(", ", [for index, name in var.queues : "waiting${index}, flying${index}"])}]) / FILL(workers, 1)"
        return_data = true
      }
      dynamic "metrics" {
        for_each = var.queues
        content {
          id          = "waiting${metrics.key}"
          return_data = false
          metric_stat {
            stat = "Average"
            metric {
              namespace   = "AWS/SQS"
              metric_name = "ApproximateNumberOfMessagesVisible"
              dimensions {
                name  = "QueueName"
                value = metrics.value
              }
            }
          }
        }
      }
      dynamic "metrics" {
        for_each = var.queues
        content {
          id          = "flying${metrics.key}"
          return_data = false
          metric_stat {
            stat = "Average"
            metric {
              namespace   = "AWS/SQS"
              metric_name = "ApproximateNumberOfMessagesNotVisible"
              dimensions {
                name  = "QueueName"
                value = metrics.value
              }
            }
          }
        }
      }
      metrics {
        id          = "workers"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "ECS/ContainerInsights"
            metric_name = "RunningTaskCount"
            dimensions {
              name  = "ClusterName"
              value = var.cluster
            }
            dimensions {
              name  = "ServiceName"
              value = var.service
            }
          }
        }
      }
    }
  }
}
