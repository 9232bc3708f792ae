package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	upstream "k8s.io/apiserver/pkg/admission"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	webhookerrors "k8s.io/apiserver/pkg/admission/plugin/webhook/errors"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	webhookrequest "k8s.io/apiserver/pkg/admission/plugin/webhook/request"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"

	"clipper/apiserver/admission"
)

// A call is one webhook asked about one write.
type call struct {
	inv     *generic.WebhookInvocation
	attrs   *upstream.VersionedAttributes
	phase   string // "admit" or "validating", as metrics have it
	openKey string // of the audit annotation which says that the webhook failed and the write went on

	response *webhookrequest.AdmissionResponse // nil if there is an err
	err      error
	took     time.Duration
}

// ask sends the review and takes the answer.
func (p *Plugin) ask(ctx context.Context, c *call) {
	begun := time.Now()
	c.response, c.err = p.review(ctx, c)
	c.took = time.Since(begun)
}

func (p *Plugin) review(ctx context.Context, c *call) (*webhookrequest.AdmissionResponse, error) {
	h := c.inv.Webhook
	if c.attrs.IsDryRun() {
		switch effects := h.GetSideEffects(); {
		case effects == nil:
			return nil, c.failed(errors.New("Webhook SideEffects is nil"), apierrors.NewBadRequest("Webhook SideEffects is nil"))
		case *effects != admissionregistrationv1.SideEffectClassNone && *effects != admissionregistrationv1.SideEffectClassNoneOnDryRun:
			return nil, webhookerrors.NewDryRunUnsupportedErr(h.GetName())
		}
	}
	uid, request, response, err := webhookrequest.CreateAdmissionObjects(c.attrs, c.inv)
	if err != nil {
		return nil, c.failed(fmt.Errorf("could not create admission objects: %w", err), apierrors.NewBadRequest("error creating admission objects"))
	}
	if err := p.post(ctx, c, request, response); err != nil {
		return nil, err
	}
	result, err := webhookrequest.VerifyAdmissionResponse(uid, c.phase == mutating, response)
	if err != nil {
		return nil, c.failed(fmt.Errorf("received invalid webhook response: %w", err), apierrors.NewServiceUnavailable("error validating webhook response"))
	}
	return result, nil
}

// post sends request within the webhook's timeout, of which the webhook is told.
func (p *Plugin) post(ctx context.Context, c *call, request, response runtime.Object) error {
	client, err := c.inv.Webhook.GetRESTClient(p.clients)
	if err != nil {
		return c.failed(fmt.Errorf("could not get REST client: %w", err), apierrors.NewInternalError(err))
	}
	if s := c.inv.Webhook.GetTimeoutSeconds(); s != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*s)*time.Second)
		defer cancel()
	}
	post := client.Post().Body(request)
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > 0 {
			post.Timeout((left + time.Second - 1).Truncate(time.Second))
		}
	}
	if err := post.Do(ctx).Into(response); err != nil {
		status, ok := err.(*apierrors.StatusError)
		if !ok {
			status = apierrors.NewServiceUnavailable("error calling webhook")
		}
		return c.failed(fmt.Errorf("failed to call webhook: %w", err), status)
	}
	return nil
}

// failed says that the webhook could not be asked, which is not a refusal.
func (c *call) failed(err error, status *apierrors.StatusError) error {
	return &webhookutil.ErrCallingWebhook{WebhookName: c.inv.Webhook.GetName(), Reason: err, Status: status}
}

// accept passes on what the webhook says: annotations, warnings, a refusal.
func (c *call) accept(a *admission.Attributes) {
	if c.response == nil {
		return
	}
	for k, v := range c.response.AuditAnnotations {
		c.annotate(c.inv.Webhook.GetName()+"/"+k, v)
	}
	for _, w := range c.response.Warnings {
		a.Warn(w)
	}
	if !c.response.Allowed {
		c.err = &webhookutil.ErrWebhookRejection{Status: webhookerrors.ToStatusErr(c.inv.Webhook.GetName(), c.response.Result)}
	}
}

func (c *call) annotate(key, value string) {
	if err := c.attrs.Attributes.AddAnnotation(key, value); err != nil {
		slog.Warn("audit annotation dropped", "webhook", c.inv.Webhook.GetName(), "key", key, "err", err)
	}
}

// settle measures the call and returns what the client is told of its failure; nil if the write may go on.
func (c *call) settle(ctx context.Context) error {
	var calling *webhookutil.ErrCallingWebhook
	var refused *webhookutil.ErrWebhookRejection
	name := c.inv.Webhook.GetName()
	switch {
	case c.err == nil:
		c.observe(ctx, false, 200)
		return nil
	case errors.As(c.err, &calling):
		open := c.failsOpen()
		canceled := errors.Is(calling.Reason, context.Canceled)
		if !open && !canceled {
			c.observeRejection(ctx, admissionmetrics.WebhookRejectionCallingWebhookError, int(calling.Status.ErrStatus.Code))
		}
		c.observe(ctx, !open, int(calling.Status.ErrStatus.Code))
		if !open {
			return apierrors.NewInternalError(c.err)
		}
		if !canceled {
			slog.Warn("webhook failed; its policy lets the write go on", "webhook", name, "err", c.err)
			admissionmetrics.Metrics.ObserveWebhookFailOpen(ctx, name, c.phase)
			c.annotate(c.openKey, name)
		}
		return nil
	case errors.As(c.err, &refused):
		c.observeRejection(ctx, admissionmetrics.WebhookRejectionNoError, int(refused.Status.ErrStatus.Code))
		c.observe(ctx, true, int(refused.Status.ErrStatus.Code))
		return refused.Status
	}
	c.observeRejection(ctx, admissionmetrics.WebhookRejectionAPIServerInternalError, 0)
	c.observe(ctx, true, 0)
	return c.err
}

func (c *call) failsOpen() bool {
	policy := c.inv.Webhook.GetFailurePolicy()
	return policy != nil && *policy == admissionregistrationv1.Ignore
}

func (c *call) observe(ctx context.Context, rejected bool, code int) {
	admissionmetrics.Metrics.ObserveWebhook(ctx, c.inv.Webhook.GetName(), c.took, rejected, c.attrs.Attributes, c.phase, code)
}

func (c *call) observeRejection(ctx context.Context, kind admissionmetrics.WebhookRejectionErrorType, code int) {
	admissionmetrics.Metrics.ObserveWebhookRejection(ctx, c.inv.Webhook.GetName(), c.phase, string(c.attrs.GetOperation()), kind, code)
}
