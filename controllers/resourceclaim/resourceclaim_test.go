package resourceclaim

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

var deviceSpec = resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
	{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "class"}}}}}

func podWith(name, node string, claims ...corev1.PodResourceClaim) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: controllertest.Template("").Spec}
	p.Spec.ResourceClaims, p.Spec.NodeName = claims, node
	return p
}

// allocate gives a claim a device, as the scheduler does.
func allocate(t *testing.T, c api.Client, name string, consumers ...resourcev1.ResourceClaimConsumerReference) *resourcev1.ResourceClaim {
	t.Helper()
	claim, err := api.ResourceClaims.Mutate(t.Context(), c, "default", name, "", func(o *resourcev1.ResourceClaim) (bool, error) {
		o.Finalizers = append(o.Finalizers, resourcev1.Finalizer)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	claim = claim.DeepCopy()
	claim.Status = resourcev1.ResourceClaimStatus{ReservedFor: consumers, Allocation: &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{
		Results: []resourcev1.DeviceRequestAllocationResult{{Request: "r", Driver: "d.example.com", Pool: "p", Device: "0"}}}}}
	if claim, err = api.ResourceClaims.UpdateStatus(t.Context(), c, claim); err != nil {
		t.Fatal(err)
	}
	return claim
}

// A pod's claim is made from the template, told, reserved on the node, and taken away again in the end.
func TestLifeOfAGeneratedClaim(t *testing.T) {
	c := inprocesstest.New(t)
	ctl := New(c, &controllertest.Events{})
	_, err := api.ResourceClaimTemplates.Create(t.Context(), c, &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "t"},
		Spec: resourcev1.ResourceClaimTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"l": "v"}}, Spec: deviceSpec}})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := api.Pods.Create(t.Context(), c, podWith("p", "n", corev1.PodResourceClaim{Name: "dev", ResourceClaimTemplateName: ptr.To("t")}))
	if err != nil {
		t.Fatal(err)
	}
	step := func(k key) {
		t.Helper()
		if err := ctl.sync(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	thePod := key{owner.KeyOf(pod), false}
	step(thePod)
	step(thePod)
	list := api.ResourceClaims.View(c).List("default")
	if len(list) != 1 || !metav1.IsControlledBy(list[0], pod) || list[0].Labels["l"] != "v" || !strings.HasPrefix(list[0].Name, "p-dev-") ||
		list[0].Annotations["resource.kubernetes.io/pod-claim-name"] != "dev" {
		t.Fatalf("claims %v", list)
	}
	theClaim := key{owner.KeyOf(list[0]), true}
	pod, _ = api.Pods.View(c).Get("default", "p")
	if st := pod.Status.ResourceClaimStatuses; len(st) != 1 || st[0].Name != "dev" || *st[0].ResourceClaimName != list[0].Name {
		t.Fatalf("the pod's status tells %v", st)
	}

	allocate(t, c, list[0].Name)
	step(thePod)
	claim, _ := api.ResourceClaims.View(c).Get("default", list[0].Name)
	if r := claim.Status.ReservedFor; len(r) != 1 || r[0].UID != pod.UID {
		t.Fatalf("reserved for %v", r)
	}
	step(theClaim)
	if claim, _ = api.ResourceClaims.View(c).Get("default", list[0].Name); len(claim.Status.ReservedFor) != 1 {
		t.Fatal("a claim in use was taken away")
	}

	ended := pod.DeepCopy()
	ended.Status.Phase = corev1.PodSucceeded
	if _, err := api.Pods.UpdateStatus(t.Context(), c, ended); err != nil {
		t.Fatal(err)
	}
	step(theClaim)
	if claim, ok := api.ResourceClaims.View(c).Get("default", list[0].Name); ok {
		t.Errorf("left behind: %v", claim)
	}
}

func TestMissingTemplateIsTold(t *testing.T) {
	c := inprocesstest.New(t)
	events := &controllertest.Events{}
	ctl := New(c, events)
	pod, err := api.Pods.Create(t.Context(), c, podWith("p", "", corev1.PodResourceClaim{Name: "dev", ResourceClaimTemplateName: ptr.To("none")}))
	if err != nil {
		t.Fatal(err)
	}
	if err := ctl.sync(t.Context(), key{owner.KeyOf(pod), false}); err == nil {
		t.Error("no error without the template")
	}
	want := `Warning FailedResourceClaimCreation PodResourceClaim dev: resource claim template "none": resourceclaimtemplates.resource.k8s.io "none" not found`
	if got := events.Take(); len(got) != 1 || got[0] != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestRelease(t *testing.T) {
	gone := resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: "gone", UID: "1"}
	lives := resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: "lives", UID: "2"}
	allocation := &resourcev1.AllocationResult{}
	uses := func(_ *resourcev1.ResourceClaim, r resourcev1.ResourceClaimConsumerReference) bool {
		return r.Name == "lives"
	}
	for _, c := range []struct {
		name      string
		reserved  []resourcev1.ResourceClaimConsumerReference
		finalizer string
		deleted   bool
		changes   bool
		remaining int
		allocated bool
	}{
		{"in use", []resourcev1.ResourceClaimConsumerReference{lives}, resourcev1.Finalizer, false, false, 1, true},
		{"one of two has ended", []resourcev1.ResourceClaimConsumerReference{gone, lives}, resourcev1.Finalizer, false, true, 1, true},
		{"the last has ended", []resourcev1.ResourceClaimConsumerReference{gone}, resourcev1.Finalizer, false, true, 0, false},
		{"the last has ended, a driver allocated", []resourcev1.ResourceClaimConsumerReference{gone}, "d.example.com", false, true, 0, true},
		{"allocated, yet to be used", nil, resourcev1.Finalizer, false, false, 0, true},
		{"deleted", nil, resourcev1.Finalizer, true, true, 0, false},
	} {
		claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{c.finalizer}},
			Status: resourcev1.ResourceClaimStatus{ReservedFor: c.reserved, Allocation: allocation}}
		if c.deleted {
			claim.DeletionTimestamp = &metav1.Time{}
		}
		next := release(claim, uses)
		if (next != nil) != c.changes {
			t.Errorf("%s: changes %v", c.name, next != nil)
		}
		if next != nil && (len(next.Status.ReservedFor) != c.remaining || (next.Status.Allocation != nil) != c.allocated) {
			t.Errorf("%s: became %+v", c.name, next.Status)
		}
	}
}
