package cli

import (
	"strings"

	"github.com/spf13/pflag"

	"clipper/apiserver/audit"
)

// auditFlags adds kube-apiserver's flags about what is recorded of requests.
func auditFlags(f *pflag.FlagSet, o *audit.Options) {
	f.StringVar(&o.PolicyFile, "audit-policy-file", "", "audit policy (audit.k8s.io/v1): what is recorded of which requests")
	f.StringVar(&o.Log.Path, "audit-log-path", "", "file for audit events; - is standard output")
	f.IntVar(&o.Log.MaxAge, "audit-log-maxage", o.Log.MaxAge, "days that rotated audit logs are kept; 0: for ever")
	f.IntVar(&o.Log.MaxBackups, "audit-log-maxbackup", o.Log.MaxBackups, "rotated audit logs that are kept; 0: all")
	f.IntVar(&o.Log.MaxSize, "audit-log-maxsize", o.Log.MaxSize, "megabytes after which the audit log is rotated; 0: never")
	f.BoolVar(&o.Log.Compress, "audit-log-compress", false, "compress rotated audit logs")
	f.StringVar(&o.Log.Format, "audit-log-format", o.Log.Format, "form of the audit log: "+strings.Join(audit.Formats, ", "))
	f.StringVar(&o.Log.Version, "audit-log-version", o.Log.Version, "API version of events in the audit log")
	f.StringVar(&o.Webhook.ConfigFile, "audit-webhook-config-file", "", "kubeconfig of the server that audit events are sent to")
	f.StringVar(&o.Webhook.Version, "audit-webhook-version", o.Webhook.Version, "API version of events that are sent")
	f.DurationVar(&o.Webhook.InitialBackoff, "audit-webhook-initial-backoff", o.Webhook.InitialBackoff, "wait before the first retry of sending audit events")
	auditBackendFlags(f, "log", &o.Log.Batch, &o.Log.Truncate)
	auditBackendFlags(f, "webhook", &o.Webhook.Batch, &o.Webhook.Truncate)
}

// auditBackendFlags adds the flags that both back ends have.
func auditBackendFlags(f *pflag.FlagSet, name string, b *audit.BatchOptions, t *audit.TruncateOptions) {
	prefix := "audit-" + name + "-"
	f.StringVar(&b.Mode, prefix+"mode", b.Mode, "whether requests wait for their audit events: "+strings.Join(audit.Modes, ", "))
	f.IntVar(&b.Config.BufferSize, prefix+"batch-buffer-size", b.Config.BufferSize, "events that may wait, in batch mode")
	f.IntVar(&b.Config.MaxBatchSize, prefix+"batch-max-size", b.Config.MaxBatchSize, "events in one batch")
	f.DurationVar(&b.Config.MaxBatchWait, prefix+"batch-max-wait", b.Config.MaxBatchWait, "longest wait for a batch to fill")
	f.BoolVar(&b.Config.ThrottleEnable, prefix+"batch-throttle-enable", b.Config.ThrottleEnable, "limit the rate of batches")
	f.Float32Var(&b.Config.ThrottleQPS, prefix+"batch-throttle-qps", b.Config.ThrottleQPS, "batches per second")
	f.IntVar(&b.Config.ThrottleBurst, prefix+"batch-throttle-burst", b.Config.ThrottleBurst, "batches at once after a quiet time")
	f.BoolVar(&t.Enabled, prefix+"truncate-enabled", false, "shorten audit events and batches that are too large")
	f.Int64Var(&t.Config.MaxBatchSize, prefix+"truncate-max-batch-size", t.Config.MaxBatchSize, "largest batch, in bytes")
	f.Int64Var(&t.Config.MaxEventSize, prefix+"truncate-max-event-size", t.Config.MaxEventSize, "largest audit event, in bytes: first its objects go, then the event")
}
