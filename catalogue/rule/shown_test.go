package rule

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestFaultsQuoteInternalTypes: clients know the values in messages by the Go names of upstream's types.
func TestFaultsQuoteInternalTypes(t *testing.T) {
	one, surge := int32(1), intstr.FromString("10%")
	for _, tt := range []struct {
		value any
		want  string
	}{
		{"text", `"text"`},
		{&one, `1`},
		{(*corev1.Probe)(nil), `null`},
		{metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, `{"matchLabels":{"a":"b"}}`},
		{corev1.Toleration{Key: "a"}, `{"Key":"a","Operator":"","Value":"","Effect":"","TolerationSeconds":null}`},
		{[]corev1.LocalObjectReference{{Name: "a"}, {}}, `[{"Name":"a"},{"Name":""}]`},
		{appsv1.RollingUpdateDeployment{MaxSurge: &surge}, `{"MaxUnavailable":null,"MaxSurge":"10%"}`},
		{&corev1.SecretVolumeSource{Items: []corev1.KeyToPath{{Key: "k"}}}, `{"SecretName":"","Items":[{"Key":"k","Path":"","Mode":null}],"DefaultMode":null,"Optional":null}`},
		{corev1.ResourceRequirements{Limits: corev1.ResourceList{}}, `{"Limits":{},"Requests":null,"Claims":null}`},
	} {
		f := &Faults{}
		f.Invalid(field.NewPath("spec"), tt.value, "no")
		if got, want := f.List[0].Error(), "spec: Invalid value: "+tt.want+": no"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestLayout: where fields of upstream's types stand elsewhere than in the API.
func TestLayout(t *testing.T) {
	spec := corev1.PodSpec{HostNetwork: true, Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}}
	job := batchv1.Job{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: spec}}}
	f := &Faults{}
	f.Invalid(nil, job.Spec.Template, "no")
	text := f.List[0].Error()
	at := 0
	for _, next := range []string{
		`{"labels":{"a":"b"},"Spec":{"Volumes":[{"Name":"v","HostPath":null,"EmptyDir":{"Medium":"","SizeLimit":null},`, `"RBD":null,"Quobyte":null,"FlexVolume":null,`,
		`"AutomountServiceAccountToken":null,"NodeName":"","SecurityContext":{"HostNetwork":true,"HostPID":false,"HostIPC":false,"ShareProcessNamespace":null,"HostUsers":null,"SELinuxOptions":null,`,
		`"FSGroup":null,"FSGroupChangePolicy":null,"Sysctls":null`, `"Subdomain":"","SetHostnameAsFQDN":null,"Affinity":null`, `"Priority":null,"PreemptionPolicy":null,"DNSConfig":null`,
	} {
		i := strings.Index(text[at:], next)
		if i < 0 {
			t.Fatalf("no %s\nafter %s", next, text[at:])
		}
		at += i + len(next)
	}
}

func TestDiff(t *testing.T) {
	got := Diff(corev1.PodReadinessGate{ConditionType: "a"}, corev1.PodReadinessGate{ConditionType: "b"})
	if want := "@@ -1,3 +1,3 @@\n {\n- \"ConditionType\": \"a\"\n+ \"ConditionType\": \"b\"\n }\n"; got != want {
		t.Errorf("got %q", got)
	}
}
