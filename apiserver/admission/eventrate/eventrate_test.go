package eventrate

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	testingclock "k8s.io/utils/clock/testing"

	"clipper/api"
	"clipper/apiserver/admission"
)

// A step is an event, or some time that passes.
type step struct {
	namespace, user, object string
	wait                    time.Duration
}

func about(namespace, user, object string) step {
	return step{namespace: namespace, user: user, object: object}
}
func after(d time.Duration) step { return step{wait: d} }

func (s step) attributes() *admission.Attributes {
	return &admission.Attributes{Operation: admission.Create, Resource: api.CoreEvents.Resource, Namespace: s.namespace, User: &user.DefaultInfo{Name: s.user},
		Object: &corev1.Event{InvolvedObject: corev1.ObjectReference{Name: s.object}}}
}

// TestLimits takes events one after another; + is one that is let through, - one that is not.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name, limits string
		events       []step
		want         string
		last         string
	}{
		{"server", `[{type: Server, qps: 1, burst: 2}]`, []step{about("a", "u", "x"), about("b", "v", "y"), about("a", "u", "x")}, "++-", "limit reached on type Server for key "},
		{"refilled", `[{type: Server, qps: 1, burst: 1}]`, []step{about("a", "u", "x"), about("a", "u", "x"), after(time.Second), about("a", "u", "x")}, "+-+", ""},
		{"namespace", `[{type: Namespace, qps: 1, burst: 1}]`, []step{about("a", "u", "x"), about("b", "u", "x"), about("b", "v", "y")}, "++-", "limit reached on type Namespace for key b"},
		{"user", `[{type: User, qps: 1, burst: 1}]`, []step{about("a", "u", "x"), about("b", "v", "x"), about("b", "u", "y")}, "++-", "limit reached on type User for key u"},
		{"object", `[{type: SourceAndObject, qps: 1, burst: 1}]`, []step{about("a", "u", "x"), about("a", "u", "y"), about("b", "v", "x")}, "++-", "limit reached on type SourceAndObject for key x"},
		{"forgotten", `[{type: Namespace, qps: 1, burst: 1, cacheSize: 1}]`, []step{about("a", "u", "x"), about("b", "u", "x"), about("a", "u", "x")}, "+++", ""},
		{"two limits", `[{type: Server, qps: 1, burst: 1}, {type: User, qps: 1, burst: 1}]`, []step{about("a", "u", "x"), about("a", "u", "x")}, "+-",
			"[limit reached on type Server for key , limit reached on type User for key u]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := testingclock.NewFakeClock(time.Unix(1e9, 0))
			p, err := New([]byte("apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: "+tt.limits), clock)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, e := range tt.events {
				if e.wait > 0 {
					clock.Step(e.wait)
					continue
				}
				switch err = p.Validate(t.Context(), e.attributes()); {
				case err == nil:
					got += "+"
				case apierrors.IsTooManyRequests(err):
					got += "-"
				default:
					t.Fatal(err)
				}
			}
			if got != tt.want || tt.last != "" && err.Error() != "Too many requests: "+tt.last {
				t.Errorf("%s (%v), want %s (%s)", got, err, tt.want, tt.last)
			}
		})
	}
}

// TestFree: what is no event of the core group, and what is not stored, costs nothing.
func TestFree(t *testing.T) {
	p, err := New([]byte("apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: Server, qps: 1, burst: 1}]"), testingclock.NewFakeClock(time.Unix(1e9, 0)))
	if err != nil {
		t.Fatal(err)
	}
	dry, other, deleted := about("a", "u", "x").attributes(), about("a", "u", "x").attributes(), about("a", "u", "x").attributes()
	dry.DryRun, other.Resource, deleted.Operation = true, api.Pods.Resource, admission.Delete
	for _, a := range []*admission.Attributes{dry, dry, other, other, deleted, deleted, about("a", "u", "x").attributes()} {
		if err := p.Validate(t.Context(), a); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
}
