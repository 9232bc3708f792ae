package servicecidr

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/api/record"
)

func TestPlanDefault(t *testing.T) {
	one, both := cidr("kubernetes", "10.0.0.0/16"), cidr("kubernetes", "10.0.0.0/16", "fd00::/108")
	going := cidr("kubernetes", "10.1.0.0/16")
	going.DeletionTimestamp = &metav1.Time{}
	for name, tt := range map[string]struct {
		is, want *networkingv1.ServiceCIDR
		plan     upkeep
	}{
		"gone":                        {nil, one, create},
		"as it is":                    {judged(one, metav1.ConditionTrue), one, nothing},
		"not judged yet":              {one, one, judge},
		"not known to be ready":       {judged(one, metav1.ConditionUnknown), one, judge},
		"not ready":                   {judged(one, metav1.ConditionFalse), one, doubt},
		"not ready, and another":      {judged(cidr("kubernetes", "10.1.0.0/16"), metav1.ConditionFalse), one, tell},
		"a second range":              {one, both, addRange},
		"a second range, other first": {cidr("kubernetes", "10.1.0.0/16"), both, tell},
		"a range less":                {both, one, tell},
		"another, on its way out":     {going, one, nothing},
	} {
		if got := planDefault(tt.is, tt.want); got != tt.plan {
			t.Errorf("%s: %d, want %d", name, got, tt.plan)
		}
	}
}

func judged(c *networkingv1.ServiceCIDR, ready metav1.ConditionStatus) *networkingv1.ServiceCIDR {
	c = c.DeepCopy()
	c.Status.Conditions = []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: ready, Reason: "Why", Message: "somebody says so"}}
	return c
}

// TestDefault: the object gets what it lacks, comes back when it has gone, and events say once what else is wrong.
func TestDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		c.Add(api.ServiceCIDRs.Resource, cidr("kubernetes", "10.0.0.0/16"))
		events := record.New(c, DefaultComponent, "")
		d := NewDefault(c, cidr("kubernetes", "10.0.0.0/16", "fd00::/108"), events)
		ctx, cancel := context.WithCancel(t.Context())
		done, recorded := make(chan error, 1), make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		go func() { recorded <- events.Run(ctx) }()
		is := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got, ok := api.ServiceCIDRs.View(c).Get("", "kubernetes"); !ok || !slices.Equal(got.Spec.CIDRs, want) {
				t.Errorf("got %+v, want %v", got, want)
			}
		}
		is("10.0.0.0/16", "fd00::/108")
		if got, _ := api.ServiceCIDRs.View(c).Get("", "kubernetes"); meta.FindStatusCondition(got.Status.Conditions, "Ready").Message != "Kubernetes default Service CIDR is ready" {
			t.Errorf("conditions: %+v", got.Status.Conditions)
		}
		if err := api.ServiceCIDRs.Delete(ctx, c, "", "kubernetes", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		is("10.0.0.0/16", "fd00::/108")
		for _, text := range []string{"10.1.0.0/16", "10.2.0.0/16"} {
			_, err := api.ServiceCIDRs.Mutate(ctx, c, "", "kubernetes", "", func(r *networkingv1.ServiceCIDR) (bool, error) {
				r.Spec.CIDRs = []string{text}
				return true, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		told := api.CoreEvents.View(c).List("default")
		if len(told) != 1 || told[0].Reason != "KubernetesDefaultServiceCIDRInconsistent" ||
			told[0].Message != "The default ServiceCIDR [10.1.0.0/16] does not match the controller flag configurations [10.0.0.0/16 fd00::/108]" {
			t.Errorf("events: %+v", told)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-recorded
	})
}
