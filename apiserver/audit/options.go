package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	logbackend "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	webhookbackend "k8s.io/apiserver/plugin/pkg/audit/webhook"
)

// How events are handed on.
const (
	ModeBatch          = "batch"           // later; requests do not wait
	ModeBlocking       = "blocking"        // requests wait
	ModeBlockingStrict = "blocking-strict" // and fail if their event cannot be recorded
)

// Modes are those that there are.
var Modes = []string{ModeBatch, ModeBlocking, ModeBlockingStrict}

// Options say what is recorded and where. DefaultOptions returns upstream's defaults.
type Options struct {
	PolicyFile string
	Log        LogOptions
	Webhook    WebhookOptions
}

// BatchOptions say whether requests wait for their events to be recorded. Config is for ModeBatch.
type BatchOptions struct {
	Mode   string
	Config buffered.BatchConfig
}

// TruncateOptions bound the size of what is recorded.
type TruncateOptions struct {
	Enabled bool
	Config  truncate.Config
}

// LogOptions are about the log file.
type LogOptions struct {
	Path       string // "-": standard output; "": no log
	MaxAge     int    // days that rotated files are kept; 0: for ever
	MaxBackups int    // rotated files that are kept; 0: all
	MaxSize    int    // megabytes after which the file is rotated; 0: never
	Format     string
	Version    string
	Compress   bool
	Batch      BatchOptions
	Truncate   TruncateOptions
}

// WebhookOptions are about the server that events are sent to.
type WebhookOptions struct {
	ConfigFile     string // a kubeconfig; "": no webhook
	Version        string
	InitialBackoff time.Duration
	Batch          BatchOptions
	Truncate       TruncateOptions
}

// Formats are those of the log.
var Formats = logbackend.AllowedFormats

// DefaultOptions returns what upstream does without flags: nothing is recorded.
func DefaultOptions() Options {
	const room, batch, wait, perSecond, burst = 10_000, 400, 30 * time.Second, 10, 15
	bounds := TruncateOptions{Config: truncate.Config{MaxBatchSize: 10 << 20, MaxEventSize: 100 << 10}}
	version := auditv1.SchemeGroupVersion.String()
	return Options{
		Log: LogOptions{
			MaxAge: 366, MaxBackups: 100, MaxSize: 100, Format: logbackend.FormatJson, Version: version, Truncate: bounds,
			Batch: BatchOptions{Mode: ModeBlocking, Config: buffered.BatchConfig{BufferSize: room, MaxBatchSize: 1}},
		},
		Webhook: WebhookOptions{
			InitialBackoff: webhookbackend.DefaultInitialBackoffDelay, Version: version, Truncate: bounds,
			Batch: BatchOptions{Mode: ModeBatch, Config: buffered.BatchConfig{
				BufferSize: room, MaxBatchSize: batch, MaxBatchWait: wait,
				ThrottleEnable: true, ThrottleQPS: perSecond, ThrottleBurst: burst, AsyncDelegate: true,
			}},
		},
	}
}

// Validate returns every fault at once, each with its flag.
func (o *Options) Validate() error {
	var faults []error
	if l := &o.Log; l.Path != "" {
		faults = append(faults, l.Batch.validate("log"), l.Truncate.validate("log"), versionFault("log", l.Version))
		if !slices.Contains(Formats, l.Format) {
			faults = append(faults, fmt.Errorf("--audit-log-format %q: must be one of %s", l.Format, strings.Join(Formats, ", ")))
		}
		for flag, n := range map[string]int{"maxage": l.MaxAge, "maxbackup": l.MaxBackups, "maxsize": l.MaxSize} {
			if n < 0 {
				faults = append(faults, fmt.Errorf("--audit-log-%s %d: must not be negative", flag, n))
			}
		}
	}
	if w := &o.Webhook; w.ConfigFile != "" {
		faults = append(faults, w.Batch.validate("webhook"), w.Truncate.validate("webhook"), versionFault("webhook", w.Version))
	}
	return errors.Join(faults...)
}

func versionFault(name, version string) error {
	if want := auditv1.SchemeGroupVersion.String(); version != want {
		return fmt.Errorf("--audit-%s-version %q: must be %s", name, version, want)
	}
	return nil
}

func (o *BatchOptions) validate(name string) error {
	var faults []error
	if !slices.Contains(Modes, o.Mode) {
		faults = append(faults, fmt.Errorf("--audit-%s-mode %q: must be one of %s", name, o.Mode, strings.Join(Modes, ", ")))
	}
	if o.Mode != ModeBatch {
		return errors.Join(faults...)
	}
	c := o.Config
	if c.BufferSize <= 0 || c.MaxBatchSize <= 0 {
		faults = append(faults, fmt.Errorf("--audit-%s-batch-buffer-size %d, --audit-%[1]s-batch-max-size %[3]d: both must be positive", name, c.BufferSize, c.MaxBatchSize))
	}
	if c.ThrottleEnable && (c.ThrottleQPS <= 0 || c.ThrottleBurst <= 0) {
		faults = append(faults, fmt.Errorf("--audit-%s-batch-throttle-qps %v, --audit-%[1]s-batch-throttle-burst %[3]d: both must be positive", name, c.ThrottleQPS, c.ThrottleBurst))
	}
	return errors.Join(faults...)
}

func (o *TruncateOptions) validate(name string) error {
	if c := o.Config; c.MaxEventSize <= 0 || c.MaxBatchSize < c.MaxEventSize {
		return fmt.Errorf("--audit-%s-truncate-max-event-size %d must be positive and not more than --audit-%[1]s-truncate-max-batch-size %[3]d", name, c.MaxEventSize, c.MaxBatchSize)
	}
	return nil
}
