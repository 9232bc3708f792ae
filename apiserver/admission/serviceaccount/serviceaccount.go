// Package serviceaccount gives every pod an identity: the service account default unless it names
// another, that account's pull secrets, and a volume with a short-lived token at the well-known path.
package serviceaccount

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"

	"clipper/api"
	"clipper/api/podrefs"
	"clipper/apiserver/admission"
)

const (
	defaultAccount = "default"
	// MountPath is where every container finds its token, the CA and its namespace.
	MountPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	volumePrefix = "kube-api-access-"
	// tokenSeconds is an hour and 7 seconds: upstream's figure, by which such tokens are recognized.
	tokenSeconds = 60*60 + 7
	// defaultWait bounds how long a pod waits for the account default of a namespace just made.
	defaultWait = time.Second
)

// A Plugin is the admission plug-in.
type Plugin struct {
	accounts api.TypedView[*corev1.ServiceAccount]
}

// New returns the plug-in over the service accounts that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.ServiceAccounts.View(c)} }

// Admit completes pods that are created.
func (p *Plugin) Admit(ctx context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create || !a.Is("", "pods") {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return p.Validate(ctx, a) // a changed one would not be what the node runs
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	sa, err := p.account(ctx, a.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return a.Forbiddenf("error looking up service account %s/%s: %w", a.Namespace, pod.Spec.ServiceAccountName, err)
	}
	if automount(sa, pod) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 && len(sa.ImagePullSecrets) > 0 {
		pod.Spec.ImagePullSecrets = append([]corev1.LocalObjectReference(nil), sa.ImagePullSecrets...)
	}
	return p.Validate(ctx, a)
}

// Validate refuses pods whose account does not exist, or that use secrets which their account keeps them from.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	ephemeral := a.Operation == admission.Update && a.IsSub("", "pods", "ephemeralcontainers")
	if !ephemeral && (a.Operation != admission.Create || !a.Is("", "pods")) {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror && !ephemeral {
		return refuseMirror(a, pod)
	}
	if pod.Spec.ServiceAccountName == "" {
		return a.Forbiddenf("no service account specified for pod %s/%s", a.Namespace, pod.Name)
	}
	sa, err := p.account(ctx, a.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return a.Forbiddenf("error looking up service account %s/%s: %w", a.Namespace, pod.Spec.ServiceAccountName, err)
	}
	if !limited(sa) {
		return nil
	}
	if ephemeral {
		return ephemeralSecrets(sa, pod)
	}
	if err := secrets(sa, pod); err != nil {
		return a.Forbidden(err)
	}
	return nil
}

// refuseMirror: a mirror pod shows what a node runs from files; the API must give it nothing.
func refuseMirror(a *admission.Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return a.Forbiddenf("a mirror pod may not reference service accounts")
	}
	if podrefs.UsesAnySecret(&pod.Spec) {
		return a.Forbiddenf("a mirror pod may not reference secrets")
	}
	for i := range pod.Spec.Volumes {
		if projected := pod.Spec.Volumes[i].Projected; projected != nil {
			for _, s := range projected.Sources {
				if s.ServiceAccountToken != nil {
					return a.Forbiddenf("a mirror pod may not use ServiceAccountToken volume projections")
				}
			}
		}
	}
	return nil
}

// account returns a service account. The one called default is made by a controller when its namespace
// appears; a pod created right after the namespace waits for it.
func (p *Plugin) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	if sa, ok := p.accounts.Get(namespace, name); ok {
		return sa, nil
	}
	var found *corev1.ServiceAccount
	if name == defaultAccount {
		err := wait.PollUntilContextTimeout(ctx, 2*time.Millisecond, defaultWait, false, func(context.Context) (ok bool, err error) {
			found, ok = p.accounts.Get(namespace, name)
			return ok, nil
		})
		if err == nil {
			return found, nil
		}
	}
	return nil, apierrors.NewNotFound(gr, name)
}

// gr is as upstream's lister has it: the singular.
var gr = corev1.Resource("serviceaccount")

func automount(sa *corev1.ServiceAccount, pod *corev1.Pod) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	return sa.AutomountServiceAccountToken == nil || *sa.AutomountServiceAccountToken
}

// mountToken adds the token's mount to every container that has nothing at its path, and the volume if
// any container now uses it.
func mountToken(pod *corev1.Pod) {
	name, exists := tokenVolume(pod)
	used := false
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if !mounts(&list[i], MountPath) {
				list[i].VolumeMounts = append(list[i].VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: MountPath})
				used = true
			}
		}
	}
	if used && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenSource()}})
	}
}

// tokenVolume returns the name of the volume that holds the token: one of the pod's, or a new name.
func tokenVolume(pod *corev1.Pod) (name string, exists bool) {
	taken := map[string]bool{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if strings.HasPrefix(v.Name, volumePrefix) && v.Projected != nil {
			return v.Name, true
		}
		taken[v.Name] = true
	}
	for {
		if name = volumePrefix + rand.String(5); !taken[name] {
			return name, false
		}
	}
}

func mounts(c *corev1.Container, path string) bool {
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].MountPath == path {
			return true
		}
	}
	return false
}

func tokenSource() *corev1.ProjectedVolumeSource {
	mode, seconds := int32(0o644), int64(tokenSeconds)
	return &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
			Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}
}
