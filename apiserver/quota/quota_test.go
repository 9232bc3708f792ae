package quota

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func TestUsage(t *testing.T) {
	class := "fast"
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
		Requests: list("cpu", "100m", "example.com/gpu", "2"), Limits: list("memory", "1Gi")}}}}}
	over := pod.DeepCopy()
	over.Status.Phase = corev1.PodSucceeded
	for _, tt := range []struct {
		name string
		r    api.Resource
		o    api.Object
		want corev1.ResourceList
	}{
		{"pod", api.Pods.Resource, pod, list("count/pods", "1", "pods", "1", "cpu", "100m", "requests.cpu", "100m",
			"requests.example.com/gpu", "2", "limits.memory", "1Gi")},
		{"pod that is over", api.Pods.Resource, over, list("count/pods", "1")},
		{"deployment", api.Deployments.Resource, nil, list("count/deployments.apps", "1")},
		{"secret", api.Secrets.Resource, nil, list("count/secrets", "1", "secrets", "1")},
		{"balancer", api.Services.Resource, &corev1.Service{Spec: corev1.ServiceSpec{Type: "LoadBalancer", Ports: make([]corev1.ServicePort, 2)}},
			list("count/services", "1", "services", "1", "services.nodeports", "2", "services.loadbalancers", "1")},
		{"claim", api.PersistentVolumeClaims.Resource, &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "1Gi")}}},
			list("count/persistentvolumeclaims", "1", "persistentvolumeclaims", "1", "requests.storage", "1Gi",
				"fast.storageclass.storage.k8s.io/persistentvolumeclaims", "1", "fast.storageclass.storage.k8s.io/requests.storage", "1Gi")},
		{"devices", api.ResourceClaims.Resource, &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 2}},
			{FirstAvailable: []resourcev1.DeviceSubRequest{
				{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
				{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 3},
				{DeviceClassName: "nic", AllocationMode: resourcev1.DeviceAllocationModeAll}}}}}}},
			list("count/resourceclaims.resource.k8s.io", "1", "gpu.deviceclass.resource.k8s.io/devices", "5", "nic.deviceclass.resource.k8s.io/devices", "32",
				"requests.deviceclass.resource.kubernetes.io/gpu", "5", "requests.deviceclass.resource.kubernetes.io/nic", "32")},
	} {
		if got := Usage(tt.r, tt.o); !Same(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestScopes(t *testing.T) {
	seconds := int64(10)
	plain := &corev1.Pod{}
	ending := &corev1.Pod{Spec: corev1.PodSpec{ActiveDeadlineSeconds: &seconds}}
	sized := &corev1.Pod{Spec: corev1.PodSpec{PriorityClassName: "high", Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: list("cpu", "1")}}}}}
	scope := func(s ...corev1.ResourceQuotaScope) *corev1.ResourceQuota {
		return &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Scopes: s}}
	}
	class := func(op corev1.ScopeSelectorOperator, values ...string) *corev1.ResourceQuota {
		return &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: op, Values: values}}}}}
	}
	attributes := func(op corev1.ScopeSelectorOperator, values ...string) *corev1.ResourceQuota {
		q := class(op, values...)
		q.Spec.ScopeSelector.MatchExpressions[0].ScopeName = corev1.ResourceQuotaScopeVolumeAttributesClass
		return q
	}
	claim := func(wanted, current, target string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeAttributesClassName: &wanted}}
		c.Status.CurrentVolumeAttributesClassName = &current
		c.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: target}
		return c
	}
	for i, tt := range []struct {
		q    *corev1.ResourceQuota
		o    api.Object
		want bool
	}{
		{scope(), plain, true},
		{scope("Terminating"), plain, false},
		{scope("Terminating"), ending, true},
		{scope("NotTerminating"), ending, false},
		{scope("BestEffort"), plain, true},
		{scope("BestEffort"), sized, false},
		{scope("NotBestEffort", "NotTerminating"), sized, true},
		{scope("BestEffort"), &corev1.Secret{}, false},
		{class("In", "high"), sized, true},
		{class("In", "low"), sized, false},
		{class("NotIn", "low"), plain, true},
		{class("Exists"), plain, false},
		{class("DoesNotExist"), plain, true},
		{scope("BestEffort"), &corev1.Pod{Spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Requests: list("cpu", "1")}}}, false},
		{attributes("In", "gold"), claim("gold", "", ""), true},
		{attributes("In", "gold"), claim("silver", "gold", ""), true},
		{attributes("In", "gold"), claim("silver", "", "gold"), true},
		{attributes("In", "gold"), claim("silver", "", ""), false},
		{attributes("NotIn", "gold"), claim("", "", ""), true},
		{attributes("Exists"), claim("", "", ""), false},
		{attributes("Exists"), plain, false},
		{class("Exists"), claim("gold", "", ""), false},
	} {
		if got := Matches(tt.q, tt.o); got != tt.want {
			t.Errorf("case %d: %v", i, got)
		}
	}
}

func TestExceeded(t *testing.T) {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: list("pods", "2", "cpu", "1", "secrets", "5")}}
	if err := Exceeded(q, list("pods", "1", "cpu", "500m"), list("pods", "1", "cpu", "500m")); err != nil {
		t.Error(err)
	}
	err := Exceeded(q, list("pods", "2", "cpu", "600m"), list("pods", "1", "cpu", "500m"))
	want := "exceeded quota: q, requested: cpu=500m,pods=1, used: cpu=600m,pods=2, limited: cpu=1,pods=2"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := Exceeded(q, list("pods", "9"), list("pods", "-1")); err != nil {
		t.Errorf("using less is refused: %v", err)
	}
}

func TestUnspecified(t *testing.T) {
	q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: list("limits.cpu", "1", "requests.memory", "1", "pods", "1")}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "b"}, {Name: "a", Resources: corev1.ResourceRequirements{Requests: list("memory", "1")}}}}}
	want := "must specify limits.cpu for: a,b; requests.memory for: b"
	if err := Unspecified(q, pod); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
