// Package audit keeps a record of what was asked of the API server, by whom, and how it was answered: an
// Auditor evaluates the policy of --audit-policy-file for each request and hands events to a log file, a
// webhook, or both. Policy, events, batching, truncation and webhook are upstream's own packages; here they
// are put together. A server without a policy has no Auditor, and its requests no audit context.
package audit

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	lumberjack "gopkg.in/natefinch/lumberjack.v2"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	logbackend "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	webhookbackend "k8s.io/apiserver/plugin/pkg/audit/webhook"
)

// An Auditor decides what is recorded of a request, and records it.
type Auditor struct {
	policy  audit.PolicyRuleEvaluator
	backend audit.Backend
}

// New opens the back ends. It returns nil if there is no policy or nowhere to record events.
func New(o Options) (*Auditor, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.PolicyFile == "" || o.Log.Path == "" && o.Webhook.ConfigFile == "" {
		return nil, nil
	}
	p, err := policy.LoadPolicyFromFile(o.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("--audit-policy-file: %w", err)
	}
	var backends []audit.Backend
	if o.Log.Path != "" {
		b, err := o.Log.open()
		if err != nil {
			return nil, err
		}
		backends = append(backends, b)
	}
	if o.Webhook.ConfigFile != "" {
		b, err := o.Webhook.open()
		if err != nil {
			return nil, err
		}
		backends = append(backends, b)
	}
	return &Auditor{policy: policy.NewPolicyRuleEvaluator(p), backend: audit.Union(backends...)}, nil
}

// While runs the back ends for as long as serve, and then until they have recorded everything.
func (a *Auditor) While(serve func() error) error {
	stop := make(chan struct{})
	if err := a.backend.Run(stop); err != nil {
		close(stop)
		return fmt.Errorf("start recording audit events: %w", err)
	}
	err := serve()
	close(stop)
	a.backend.Shutdown()
	return err
}

// Begin evaluates the policy for a request and makes its audit context. ok is false if nothing of the
// request is to be recorded.
func (a *Auditor) Begin(ctx context.Context, attributes authorizer.Attributes) (with context.Context, ac *audit.AuditContext, ok bool) {
	rule := a.policy.EvaluatePolicyRule(attributes)
	audit.ObservePolicyLevel(ctx, rule.Level)
	if rule.Level == auditinternal.LevelNone {
		return ctx, nil, false
	}
	with = audit.WithAuditContext(ctx)
	ac = audit.AuditContextFrom(with)
	if err := ac.Init(rule, a.backend); err != nil {
		return ctx, nil, false // another has begun already
	}
	return with, ac, true
}

// OmitsManagedFields says whether objects are recorded without their managed fields.
func (a *Auditor) OmitsManagedFields(attributes authorizer.Attributes) bool {
	return a.policy.EvaluatePolicyRule(attributes).OmitManagedFields
}

func (o *LogOptions) open() (audit.Backend, error) {
	w, err := o.writer()
	if err != nil {
		return nil, fmt.Errorf("--audit-log-path %s: %w", o.Path, err)
	}
	return o.Truncate.around(o.Batch.around(logbackend.NewBackend(w, o.Format, auditv1.SchemeGroupVersion))), nil
}

// writer opens the file. It rotates by size; "-" is the standard output.
func (o *LogOptions) writer() (io.Writer, error) {
	if o.Path == "-" {
		return os.Stdout, nil
	}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(o.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil || o.MaxSize == 0 {
		return f, err
	}
	if err := f.Close(); err != nil { // it could be written; rotation opens it again
		return nil, err
	}
	return &lumberjack.Logger{Filename: o.Path, MaxAge: o.MaxAge, MaxBackups: o.MaxBackups, MaxSize: o.MaxSize, Compress: o.Compress}, nil
}

func (o *WebhookOptions) open() (audit.Backend, error) {
	b, err := webhookbackend.NewBackend(o.ConfigFile, auditv1.SchemeGroupVersion, webhook.DefaultRetryBackoffWithInitialDelay(o.InitialBackoff), nil)
	if err != nil {
		return nil, fmt.Errorf("--audit-webhook-config-file %s: %w", o.ConfigFile, err)
	}
	return o.Truncate.around(o.Batch.around(b)), nil
}

func (o *BatchOptions) around(b audit.Backend) audit.Backend {
	switch o.Mode {
	case ModeBlockingStrict:
		return b
	case ModeBlocking:
		return lenient{b}
	}
	return buffered.NewBackend(b, o.Config)
}

// lenient lets requests pass whose events could not be recorded.
type lenient struct{ audit.Backend }

func (l lenient) ProcessEvents(events ...*auditinternal.Event) bool {
	l.Backend.ProcessEvents(events...)
	return true
}

func (o *TruncateOptions) around(b audit.Backend) audit.Backend {
	if !o.Enabled {
		return b
	}
	return truncate.NewBackend(b, o.Config, auditv1.SchemeGroupVersion)
}
