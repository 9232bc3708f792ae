// Package policystatus tells the authors of validating admission policies what is wrong with the types in
// their expressions, in the policy's status. It warns; the policy is in force whatever it finds. The
// checking is upstream's published library.
package policystatus

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"

	"clipper/api"
	"clipper/catalogue"
	"clipper/controllers/queue"
)

const manager = "validatingadmissionpolicy-status-controller"

// A Controller is the validating-admission-policy status controller.
type Controller struct {
	client  api.Client
	checker *validating.TypeChecker
	queue   *queue.Queue[string]
}

// New returns the controller; Run starts it. resources lists what is served, schemas knows its types.
func New(c api.Client, resources func() []*catalogue.Resource, schemas resolver.SchemaResolver) *Controller {
	k := &Controller{client: c, checker: &validating.TypeChecker{SchemaResolver: schemas, RestMapper: kinds{resources: resources}}}
	k.queue = queue.New(manager, 1, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx, queue.Source{View: api.ValidatingAdmissionPolicies.View(k.client).View, Handle: func(e api.Event) {
		if e.New != nil {
			k.queue.Add(e.New.GetName())
		}
	}})
}

func (k *Controller) sync(ctx context.Context, name string) error {
	p, ok := api.ValidatingAdmissionPolicies.View(k.client).Get("", name)
	if !ok || p.Generation <= p.Status.ObservedGeneration {
		return nil
	}
	patch, err := json.Marshal(status(p, k.checker.Check(p)))
	if err != nil {
		return fmt.Errorf("validatingadmissionpolicy %s: encode status: %w", name, err)
	}
	force := true
	_, err = k.client.Patch(ctx, api.ValidatingAdmissionPolicies.Resource, "", name, "status", types.ApplyPatchType, patch,
		metav1.PatchOptions{FieldManager: manager, Force: &force})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("validatingadmissionpolicy %s: write status: %w", name, err)
	}
	return nil
}

// status is the configuration that says what was found for which generation.
func status(p *admissionregistrationv1.ValidatingAdmissionPolicy, warnings []admissionregistrationv1.ExpressionWarning) map[string]any {
	return map[string]any{
		"apiVersion": admissionregistrationv1.SchemeGroupVersion.String(),
		"kind":       "ValidatingAdmissionPolicy",
		"metadata":   map[string]any{"name": p.Name},
		"status": admissionregistrationv1.ValidatingAdmissionPolicyStatus{
			ObservedGeneration: p.Generation,
			TypeChecking:       &admissionregistrationv1.TypeChecking{ExpressionWarnings: warnings},
		},
	}
}

// kinds maps resources to kinds. The checker asks it nothing else.
type kinds struct {
	meta.RESTMapper
	resources func() []*catalogue.Resource
}

// KindsFor implements meta.RESTMapper. As upstream has it, no group stands for any.
func (k kinds) KindsFor(want schema.GroupVersionResource) (out []schema.GroupVersionKind, err error) {
	add := func(group, version string, r *catalogue.Resource) {
		if (want.Group == "" || want.Group == group) && (want.Version == "" || want.Version == version) {
			out = append(out, schema.GroupVersionKind{Group: group, Version: version, Kind: r.Kind})
		}
	}
	name := strings.ToLower(want.Resource)
	for _, r := range k.resources() {
		if r.Name != name && r.Singular != name {
			continue
		}
		if r.Custom == nil || !r.Custom.Unserved {
			add(r.Group, r.Version, r)
		}
		for i := range r.Also {
			group := r.Group
			if r.Also[i].Group != "" {
				group = r.Also[i].Group
			}
			add(group, r.Also[i].Version, r)
		}
	}
	if len(out) == 0 {
		return nil, &meta.NoResourceMatchError{PartialResource: want}
	}
	return out, nil
}
