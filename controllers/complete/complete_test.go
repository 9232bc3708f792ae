package complete_test

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/controllers/complete"
)

// A place is a resource in a namespace.
type place struct{ resource, namespace string }

// A veil hides values in some places; "*" is any namespace.
type veil struct {
	api.Client
	hidden  map[place]bool
	lifting bool // the next attempt to read succeeds
}

func (v *veil) View(r api.Resource) api.View { return partial{v.Client.View(r), v, r.Name} }

type partial struct {
	api.View
	veil     *veil
	resource string
}

func (p partial) Hides(namespace string) bool {
	for at := range p.veil.hidden {
		if at.resource == p.resource && (namespace == "" || at.namespace == namespace) {
			return true
		}
	}
	return false
}

func (p partial) Complete(namespace string) error {
	if p.veil.lifting {
		clear(p.veil.hidden)
	}
	if p.Hides(namespace) {
		return errors.New("no matching key")
	}
	return nil
}

func TestHeldBack(t *testing.T) {
	pod := func(namespace string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "p"}}
	}
	for _, tt := range []struct {
		name   string
		asked  []api.Resource
		hidden place
		held   string // namespaces of pods that may not be written; "-" stands for a node
	}{
		{"nothing is hidden", []api.Resource{api.Nodes.Resource, api.Secrets.Resource}, place{}, ""},
		{"of a view that nobody asked for", []api.Resource{api.Nodes.Resource}, place{"secrets", "a"}, ""},
		{"in one namespace", []api.Resource{api.Secrets.Resource}, place{"secrets", "a"}, "a-"},
		{"of no namespace", []api.Resource{api.Nodes.Resource}, place{"nodes", ""}, "ab-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			under := &apitest.Client{}
			under.Add(api.Pods.Resource, pod("a"), pod("b"))
			under.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
			c := complete.Only(&veil{Client: under, hidden: map[place]bool{tt.hidden: true}})
			for _, r := range tt.asked {
				c.View(r)
			}
			held := ""
			try := func(what, where string, err error) {
				if err != nil && strings.Contains(err.Error(), "held back") && strings.Contains(err.Error(), "no matching key") {
					held += where
				} else if err != nil {
					t.Errorf("%s in %q: %v", what, where, err)
				}
			}
			for _, namespace := range []string{"a", "b"} {
				try("delete", namespace, c.Delete(t.Context(), api.Pods.Resource, namespace, "p", metav1.DeleteOptions{}))
			}
			try("delete", "-", c.Delete(t.Context(), api.Nodes.Resource, "", "n", metav1.DeleteOptions{}))
			if held != tt.held {
				t.Errorf("held back in %q, want %q", held, tt.held)
			}
		})
	}
}

// TestTooLate: a decision that was made without a value is not carried out because the value can be read again.
func TestTooLate(t *testing.T) {
	ctx := t.Context()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}}
	for verb, write := range map[string]func(api.Client) error{
		"create": func(c api.Client) error {
			_, err := c.Create(ctx, api.Pods.Resource, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "q"}}, metav1.CreateOptions{})
			return err
		},
		"update": func(c api.Client) error {
			_, err := c.Update(ctx, api.Pods.Resource, "", p.DeepCopy(), metav1.UpdateOptions{})
			return err
		},
		"patch": func(c api.Client) error {
			_, err := c.Patch(ctx, api.Pods.Resource, "a", "p", "", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		},
		"delete": func(c api.Client) error {
			return c.Delete(ctx, api.Pods.Resource, "a", "p", metav1.DeleteOptions{})
		},
		"bind": func(c api.Client) error {
			_, err := c.CreateSubresource(ctx, api.Pods.Resource, "a", "p", "binding", &corev1.Binding{Target: corev1.ObjectReference{Name: "n"}})
			return err
		},
	} {
		under := &apitest.Client{}
		under.Add(api.Pods.Resource, p.DeepCopy())
		c := complete.Only(&veil{Client: under, hidden: map[place]bool{{"nodes", ""}: true}, lifting: true})
		c.View(api.Nodes.Resource)
		if err := write(c); err == nil || !strings.Contains(err.Error(), "held back") {
			t.Errorf("%s: %v", verb, err)
		}
		if err := write(c); err != nil && strings.Contains(err.Error(), "held back") {
			t.Errorf("%s, decided anew: %v", verb, err)
		}
	}
}
