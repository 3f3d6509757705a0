# ECS: as many workers as the backlog asks for. The target is messages, waiting and in flight, that one worker
# is to have: twice its slots. Not applied by this repository's tests: `terraform fmt` parses it.

variable "cluster" {
  description = "The ECS cluster's name"
}

variable "service" {
  description = "The ECS service whose tasks are workers; its stop timeout is what steps need"
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
        expression  = "(waiting + flying) / FILL(workers, 1)"
        return_data = true
      }
      metrics {
        id          = "waiting"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "AWS/SQS"
            metric_name = "ApproximateNumberOfMessagesVisible"
            dimensions {
              name  = "QueueName"
              value = var.name
            }
          }
        }
      }
      metrics {
        id          = "flying"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "AWS/SQS"
            metric_name = "ApproximateNumberOfMessagesNotVisible"
            dimensions {
              name  = "QueueName"
              value = var.name
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
