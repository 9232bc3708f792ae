package pipeline

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
)

// bindPod assigns a pod to a node: pods/binding.
func (p *Pipeline) bindPod(ctx context.Context, req *Request, body api.Object, o metav1.CreateOptions) (runtime.Object, error) {
	binding, ok := body.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", body))
	}
	if binding.Name != req.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if faults := validateBinding(binding); len(faults) > 0 {
		return nil, faults.ToAggregate() // upstream forgets to make an API error of it: a bare 500
	}
	if req.Name == "" {
		return nil, apierrors.NewBadRequest("Name parameter required.")
	}
	of := *req
	of.Admitted = true // as a binding
	w := p.begin(&of, o.DryRun, o.FieldManager)
	_, err := w.update(ctx, update{
		uid:   binding.UID,
		rules: rules{prepare: nil},
		next: func(_ context.Context, old api.Object) (api.Object, error) {
			pod := old.DeepCopyObject().(*corev1.Pod)
			if err := assign(pod, binding); err != nil {
				return nil, apierrors.NewConflict(corev1.Resource("pods/binding"), pod.Name, err)
			}
			return pod, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// bindFromBody is the older path, where the Binding itself names the pod.
func (p *Pipeline) bindFromBody(ctx context.Context, req *Request, body api.Object, o metav1.CreateOptions) (runtime.Object, error) {
	pods := p.served.Table().Resource(api.Pods.Resource)
	if pods == nil {
		return nil, req.notFound()
	}
	to := *req
	to.Resource, to.Kind, to.Subresource, to.Name = pods, p.served.Table().Storage(pods), "binding", body.GetName()
	return p.bindPod(ctx, &to, body, o)
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var faults field.ErrorList
	if kind := b.Target.Kind; kind != "" && kind != "Node" {
		faults = append(faults, field.NotSupported(field.NewPath("target", "kind"), kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		faults = append(faults, field.Required(field.NewPath("target", "name"), ""))
	}
	return faults
}

// assign writes the node into the pod. A pod is bound once.
func assign(pod *corev1.Pod, b *corev1.Binding) error {
	switch {
	case b.ResourceVersion != "" && b.ResourceVersion != pod.ResourceVersion:
		return fmt.Errorf("%s", optimisticLock)
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = b.Target.Name
	pod.Status.NominatedNodeName = "" // what was only meant to be would mislead
	if len(b.Annotations) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		maps.Copy(pod.Annotations, b.Annotations)
	}
	if len(b.Labels) > 0 { // topology labels that the scheduler found on the node
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		maps.Copy(pod.Labels, b.Labels)
	}
	setCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	return nil
}

// setCondition replaces the pod's condition of the same type; its transition time moves with its status.
func setCondition(pod *corev1.Pod, c corev1.PodCondition) {
	c.LastTransitionTime = metav1.Now().Rfc3339Copy()
	for i := range pod.Status.Conditions {
		have := &pod.Status.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}
