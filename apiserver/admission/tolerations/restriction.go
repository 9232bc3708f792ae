package tolerations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/catalogue/core/pod"
)

// The annotations of a namespace that say what its pods tolerate. Without them the plug-in's configuration says it.
const (
	defaultAnnotation   = "scheduler.alpha.kubernetes.io/defaultTolerations"
	whitelistAnnotation = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
)

// Restriction is the admission plug-in PodTolerationRestriction: namespaces give their pods tolerations, and limit
// those that pods may have.
type Restriction struct {
	namespaces api.TypedView[*corev1.Namespace]
	config     Configuration
}

// NewRestriction returns the plug-in over the namespaces that c sees. Without raw there are no defaults of the cluster.
func NewRestriction(c api.Client, raw []byte) (*Restriction, error) {
	config, err := readConfiguration(raw)
	if err != nil {
		return nil, err
	}
	return &Restriction{api.Namespaces.View(c), *config}, nil
}

// Admit adds the namespace's tolerations and looks whether all are allowed.
func (p *Restriction) Admit(_ context.Context, a *admission.Attributes) error {
	return p.restrict(a, func(ns *corev1.Namespace, o *corev1.Pod) error {
		var extra []corev1.Toleration
		if a.Operation == admission.Create {
			own, err := annotated(ns, defaultAnnotation)
			if err != nil {
				return err
			}
			if extra = own; own == nil {
				extra = slices.Clip(p.config.Default)
			}
		}
		if pod.QOS(o) != corev1.PodQOSBestEffort {
			extra = append(extra, corev1.Toleration{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
		}
		if len(extra) > 0 {
			o.Spec.Tolerations = merge(o.Spec.Tolerations, extra)
		}
		return p.check(ns, o)
	})
}

// Validate looks again.
func (p *Restriction) Validate(_ context.Context, a *admission.Attributes) error {
	return p.restrict(a, p.check)
}

func (p *Restriction) restrict(a *admission.Attributes, do func(*corev1.Namespace, *corev1.Pod) error) error {
	if !a.Is("", "pods") || a.Operation != admission.Create && a.Operation != admission.Update {
		return nil
	}
	ns, ok := p.namespaces.Get("", a.Namespace)
	if !ok {
		return apierrors.NewNotFound(api.Namespaces.GroupResource(), a.Namespace)
	}
	return do(ns, a.Object.(*corev1.Pod))
}

func (p *Restriction) check(ns *corev1.Namespace, o *corev1.Pod) error {
	if len(o.Spec.Tolerations) == 0 {
		return nil
	}
	allowed, err := annotated(ns, whitelistAnnotation)
	scope := "namespace"
	if err != nil {
		return err
	}
	if allowed == nil {
		allowed, scope = p.config.Whitelist, "cluster"
	}
	for _, t := range o.Spec.Tolerations {
		covers := func(w corev1.Toleration) bool { return covers(w, t) }
		if len(allowed) > 0 && !slices.ContainsFunc(allowed, covers) {
			return fmt.Errorf("pod tolerations (possibly merged with namespace default tolerations) conflict with its %s whitelist", scope)
		}
	}
	return nil
}

// annotated reads tolerations from an annotation; nil if there is none.
func annotated(ns *corev1.Namespace, key string) ([]corev1.Toleration, error) {
	text, ok := ns.Annotations[key]
	if !ok {
		return nil, nil
	}
	out := []corev1.Toleration{}
	if text == "" {
		return out, nil
	}
	return out, json.Unmarshal([]byte(text), &out)
}

// merge joins two lists and leaves out what another toleration covers; of equals the first stays.
func merge(first, second []corev1.Toleration) (out []corev1.Toleration) {
	all := slices.Concat(first, second)
	for i, t := range all {
		known := slices.ContainsFunc(out, func(o corev1.Toleration) bool { return covers(o, t) })
		later := slices.ContainsFunc(all[i+1:], func(o corev1.Toleration) bool {
			return !apiequality.Semantic.DeepEqual(o, t) && covers(o, t)
		})
		if !known && !later {
			out = append(out, t)
		}
	}
	return out
}

// covers says whether wide tolerates all that t does.
func covers(wide, t corev1.Toleration) bool {
	everyKey := wide.Key == "" && wide.Operator == corev1.TolerationOpExists
	switch {
	case apiequality.Semantic.DeepEqual(wide, t):
		return true
	case t.Key != wide.Key && !everyKey, t.Effect != wide.Effect && wide.Effect != "":
		return false
	case wide.Effect == corev1.TaintEffectNoExecute && wide.TolerationSeconds != nil && (t.TolerationSeconds == nil || *t.TolerationSeconds > *wide.TolerationSeconds):
		return false
	case wide.Operator == corev1.TolerationOpExists:
		return true
	}
	return (wide.Operator == corev1.TolerationOpEqual || wide.Operator == "") && t.Operator == corev1.TolerationOpEqual && t.Value == wide.Value
}
