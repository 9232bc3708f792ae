// Package nodeselector keeps the pods of a namespace on nodes of its own: those that its annotation selects, or the
// configuration of the cluster.
package nodeselector

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"clipper/api"
	"clipper/apiserver/admission"
)

const (
	annotation = "scheduler.alpha.kubernetes.io/node-selector"
	// everywhere is the entry of the configuration that is for namespaces without the annotation.
	everywhere = "clusterDefaultNodeSelector"
)

// A Plugin is the admission plug-in PodNodeSelector.
type Plugin struct {
	namespaces api.TypedView[*corev1.Namespace]
	selectors  map[string]string // by namespace: what its pods may select at most; and everywhere
}

// New returns the plug-in over the namespaces that c sees.
func New(c api.Client, raw []byte) (*Plugin, error) {
	var config struct {
		Selectors map[string]string `json:"podNodeSelectorPluginConfig"`
	}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		return nil, err
	}
	for name, selector := range config.Selectors {
		if _, err := labels.ConvertSelectorToLabelsMap(selector); err != nil {
			return nil, fmt.Errorf("podNodeSelectorPluginConfig.%s: %w", name, err)
		}
	}
	return &Plugin{api.Namespaces.View(c), config.Selectors}, nil
}

// What is wrong with a pod.
var (
	errConflict  = errors.New("pod node label selector conflicts with its namespace node label selector")
	errWhitelist = errors.New("pod node label selector labels conflict with its namespace whitelist")
)

// Admit adds the namespace's selector to the pod's.
func (p *Plugin) Admit(ctx context.Context, a *admission.Attributes) error {
	if !a.Is("", "pods") || a.Operation != admission.Create {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	selector, err := p.selector(a, pod)
	if err != nil {
		return err
	}
	pod.Spec.NodeSelector = labels.Merge(selector, pod.Spec.NodeSelector)
	return p.Validate(ctx, a)
}

// Validate refuses pods that select otherwise.
func (p *Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	if !a.Is("", "pods") || a.Operation != admission.Create {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if _, err := p.selector(a, pod); err != nil {
		return err
	}
	allowed, err := labels.ConvertSelectorToLabelsMap(p.selectors[a.Namespace])
	if err != nil {
		return err
	}
	for key, value := range pod.Spec.NodeSelector {
		if have, ok := allowed[key]; len(allowed) > 0 && (!ok || have != value) {
			return apierrors.NewForbidden(a.Resource.GroupResource(), pod.Name, errWhitelist)
		}
	}
	return nil
}

// selector is the namespace's; the pod's must not contradict it.
func (p *Plugin) selector(a *admission.Attributes, pod *corev1.Pod) (labels.Set, error) {
	ns, ok := p.namespaces.Get("", a.Namespace)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("namespace %s does not exist", a.Namespace))
	}
	text, ok := ns.Annotations[annotation]
	if !ok {
		text = p.selectors[everywhere]
	}
	selector, err := labels.ConvertSelectorToLabelsMap(text)
	if err != nil {
		return nil, err
	}
	if labels.Conflicts(selector, pod.Spec.NodeSelector) {
		return nil, apierrors.NewForbidden(a.Resource.GroupResource(), pod.Name, errConflict)
	}
	return selector, nil
}
