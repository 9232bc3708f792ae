package extension

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"clipper/api"
)

// Namespaces returns what upstream's matchers look namespaces up with: a lister, and a client for what
// the lister may not have heard of yet. Both answer from the same view, which is never late.
func Namespaces(c api.Client) (corelisters.NamespaceLister, kubernetes.Interface) {
	l := lister{api.Namespaces.View(c)}
	return l, client{core: core{namespaces: reader{lister: l}}}
}

type lister struct {
	view api.TypedView[*corev1.Namespace]
}

func (l lister) Get(name string) (*corev1.Namespace, error) {
	ns, ok := l.view.Get("", name)
	if !ok {
		return nil, apierrors.NewNotFound(api.Namespaces.GroupResource(), name)
	}
	return ns, nil
}

func (l lister) List(s labels.Selector) (out []*corev1.Namespace, err error) {
	for _, ns := range l.view.List("") {
		if s.Matches(labels.Set(ns.Labels)) {
			out = append(out, ns)
		}
	}
	return out, nil
}

// client can read namespaces and nothing else.
type client struct {
	kubernetes.Interface
	core core
}

func (c client) CoreV1() corev1client.CoreV1Interface { return c.core }

type core struct {
	corev1client.CoreV1Interface
	namespaces reader
}

func (c core) Namespaces() corev1client.NamespaceInterface { return c.namespaces }

type reader struct {
	corev1client.NamespaceInterface
	lister lister
}

func (r reader) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	return r.lister.Get(name)
}
