package legacytoken

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/authn/satoken"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func token(created string, labels map[string]string) *corev1.Secret {
	at, err := time.Parse(satoken.DateFormat, created)
	if err != nil {
		panic(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot-token", Labels: labels, CreationTimestamp: metav1.NewTime(at),
		Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot", corev1.ServiceAccountUIDKey: "1"}}, Type: corev1.SecretTypeServiceAccountToken}
}

func account() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: "1"}, Secrets: []corev1.ObjectReference{{Name: "robot-token"}}}
}

func TestPlan(t *testing.T) {
	const used, invalid = satoken.LastUsedLabel, satoken.InvalidSinceLabel
	other := account()
	other.Secrets = nil
	again := account()
	again.UID = "2"
	for _, tt := range []struct {
		name    string
		created string
		labels  map[string]string
		sa      *corev1.ServiceAccount
		mounted bool
		want    action
	}{
		{"never used", "2020-01-01", nil, account(), false, mark},
		{"young", "2026-01-01", nil, account(), false, leave},
		{"used this year", "2020-01-01", map[string]string{used: "2025-06-01"}, account(), false, leave},
		{"used long ago", "2020-01-01", map[string]string{used: "2025-05-31"}, account(), false, mark},
		{"unreadable date", "2020-01-01", map[string]string{used: "yesterday"}, account(), false, leave},
		{"made by hand", "2020-01-01", nil, other, false, leave},
		{"account made again", "2020-01-01", nil, again, false, leave},
		{"no account", "2020-01-01", nil, nil, false, leave},
		{"in use by a pod", "2020-01-01", nil, account(), true, leave},
		{"marked this year", "2020-01-01", map[string]string{invalid: "2025-06-01"}, account(), false, leave},
		{"marked long ago", "2020-01-01", map[string]string{invalid: "2025-05-31"}, account(), false, remove},
		{"badly marked", "2020-01-01", map[string]string{invalid: "soon"}, account(), false, mark},
		{"marked, then used", "2020-01-01", map[string]string{invalid: "2025-05-31", used: "2026-05-31"}, account(), false, leave},
	} {
		if got := plan(token(tt.created, tt.labels), tt.sa, now, func() bool { return tt.mounted }); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestClean(t *testing.T) {
	for _, tt := range []struct {
		since string
		want  string // the label
	}{{"2025-05-01", "2026-06-01"}, {"2025-06-01", ""}, {"never", ""}} {
		c := &apitest.Client{}
		c.Add(api.ConfigMaps.Resource, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: TrackingConfigMap}, Data: map[string]string{"since": tt.since}})
		c.Add(api.Secrets.Resource, token("2020-01-01", nil))
		c.Add(api.ServiceAccounts.Resource, account())
		k := &Controller{client: c, now: func() time.Time { return now }}
		if err := k.clean(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, _ := api.Secrets.View(c).Get("ns", "robot-token"); s.Labels[satoken.InvalidSinceLabel] != tt.want {
			t.Errorf("since %s: labels %v", tt.since, s.Labels)
		}
	}
}
