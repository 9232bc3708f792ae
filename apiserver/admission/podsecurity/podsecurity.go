// Package podsecurity enforces the Pod Security Standards that a namespace's labels ask for. The standards
// themselves are upstream's published library.
package podsecurity

import (
	"context"
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/component-base/metrics/legacyregistry"
	psadmission "k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/admission/api/load"
	psapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	"clipper/api"
	"clipper/apiserver/admission"
)

// recorder measures for all servers of the process.
var recorder = sync.OnceValue(func() metrics.Recorder {
	r := metrics.NewPrometheusRecorder(psapi.GetAPIVersion())
	r.MustRegister(legacyregistry.MustRegister)
	return r
})

// A Plugin is the admission plug-in PodSecurity.
type Plugin struct {
	inner     *psadmission.Admission
	extractor psadmission.DefaultPodSpecExtractor
}

// New returns the plug-in over the namespaces and pods that c sees. raw is its PodSecurityConfiguration: what
// namespaces without labels get, and who is exempt. Without one such namespaces are privileged.
func New(c api.Client, raw []byte) (*Plugin, error) {
	config, err := load.LoadFromData(raw)
	if err != nil {
		return nil, fmt.Errorf("podsecurity: %w", err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("podsecurity: build the checks: %w", err)
	}
	v := views{api.Namespaces.View(c), api.Pods.View(c)}
	p := &Plugin{inner: &psadmission.Admission{
		Configuration: config,
		Evaluator:     evaluator, Metrics: recorder(), NamespaceGetter: v, PodLister: v,
	}}
	if err := p.inner.CompleteConfiguration(); err != nil {
		return nil, fmt.Errorf("podsecurity: %w", err)
	}
	if err := p.inner.ValidateConfiguration(); err != nil {
		return nil, fmt.Errorf("podsecurity: %w", err)
	}
	return p, nil
}

// Validate refuses pods that their namespace's standard forbids, and warns about templates of such pods.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create && a.Operation != admission.Update {
		return nil
	}
	gr := a.Resource.GroupResource()
	if a.Resource != api.Namespaces.Resource && !p.extractor.HasPodSpec(gr) {
		return nil
	}
	resp := p.inner.Validate(ctx, attributes{a})
	for _, w := range resp.Warnings {
		a.Warn(w)
	}
	if len(resp.AuditAnnotations) > 0 {
		var pairs []string
		for k, v := range resp.AuditAnnotations {
			pairs = append(pairs, psapi.AuditAnnotationPrefix+k, v)
		}
		audit.AddAuditAnnotations(ctx, pairs...)
	}
	if resp.Allowed {
		return nil
	}
	return refusal(a, resp.Result)
}

// refusal is a 403 in which the library's answer replaces what it speaks about.
func refusal(a *admission.Attributes, said *metav1.Status) error {
	err := a.Forbiddenf("Not allowed by PodSecurity")
	if said == nil {
		return err
	}
	if said.Message != "" {
		err.ErrStatus.Message = said.Message
	}
	if said.Reason != "" {
		err.ErrStatus.Reason = said.Reason
	}
	if said.Details != nil {
		err.ErrStatus.Details = said.Details
	}
	if said.Code != 0 {
		err.ErrStatus.Code = said.Code
	}
	return err
}

// views answers the library's questions from the live views.
type views struct {
	namespaces api.TypedView[*corev1.Namespace]
	pods       api.TypedView[*corev1.Pod]
}

func (v views) GetNamespace(_ context.Context, name string) (*corev1.Namespace, error) {
	ns, ok := v.namespaces.Get("", name)
	if !ok {
		return nil, apierrors.NewNotFound(api.Namespaces.GroupResource(), name)
	}
	return ns, nil
}

func (v views) ListPods(_ context.Context, namespace string) ([]*corev1.Pod, error) {
	return v.pods.List(namespace), nil
}

// attributes shows a write to the library.
type attributes struct{ a *admission.Attributes }

func (t attributes) GetName() string                          { return t.a.Name }
func (t attributes) GetNamespace() string                     { return t.a.Namespace }
func (t attributes) GetResource() schema.GroupVersionResource { return t.a.Resource.GVR() }
func (t attributes) GetKind() schema.GroupVersionKind         { return t.a.Resource.GVK() }
func (t attributes) GetSubresource() string                   { return t.a.Subresource }
func (t attributes) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(t.a.Operation)
}
func (t attributes) GetObject() (runtime.Object, error) { return t.a.Object, nil }
func (t attributes) GetOldObject() (runtime.Object, error) {
	return t.a.Old, nil
}
func (t attributes) GetUserName() string {
	if t.a.User == nil {
		return ""
	}
	return t.a.User.GetName()
}
