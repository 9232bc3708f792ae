package noderestriction

import (
	"context"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/storage/ephemeral"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"

	"clipper/api"
	"clipper/apiserver/feature"
)

// audience lets a node have tokens for the audiences that the pod's volumes ask for, and for those that
// somebody allows it.
func (r *request) audience(ctx context.Context, tr *authenticationv1.TokenRequest, pod *corev1.Pod) error {
	if !feature.Enabled(feature.NodeAudienceRestriction) {
		return nil
	}
	audience := ""
	switch len(tr.Spec.Audiences) {
	case 0:
	case 1:
		audience = tr.Spec.Audiences[0]
	default:
		return r.Forbiddenf("node may only request 0 or 1 audiences")
	}
	asks, err := r.podAsksFor(pod, audience)
	switch {
	case err != nil:
		return r.Forbiddenf("error validating audience %q: %w", audience, err)
	case asks:
		return nil
	}
	decision, _, err := r.authz.Authorize(ctx, authorizer.AttributesRecord{User: r.User, Verb: "request-serviceaccounts-token-audience",
		Namespace: r.Namespace, APIVersion: "v1", Resource: audience, Name: r.Name, ResourceRequest: true})
	const found = "audience %q not found in pod spec volume, "
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case err != nil:
		return r.Forbiddenf(found+"error authorizing %s to request tokens for this audience: %w", audience, r.User.GetName(), err)
	}
	return r.Forbiddenf(found+"%s is not authorized to request tokens for this audience", audience, r.User.GetName())
}

// podAsksFor says whether a volume of the pod, or the driver of one, asks for tokens of the audience.
func (r *request) podAsksFor(pod *corev1.Pod, audience string) (bool, error) {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience
		}) {
			return true, nil
		}
		name, err := r.driverOf(pod, v)
		if err == nil && name != "" {
			var asks bool
			if asks, err = r.driverAsksFor(name, audience); asks {
				return true, nil
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return false, utilerrors.NewAggregate(errs)
}

// driverOf names the CSI driver behind a volume, "" if there is none. Kinds of volumes that drivers took over count as theirs.
func (r *request) driverOf(pod *corev1.Pod, v *corev1.Volume) (string, error) {
	translate := csitranslation.New()
	switch {
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		return r.driverBehind(translate, pod.Namespace, ephemeral.VolumeClaimName(pod, v))
	case v.PersistentVolumeClaim != nil:
		return r.driverBehind(translate, pod.Namespace, v.PersistentVolumeClaim.ClaimName)
	case v.CSI != nil:
		return v.CSI.Driver, nil
	case translate.IsInlineMigratable(v):
		pv, err := translate.TranslateInTreeInlineVolumeToCSI(klog.Background(), v, pod.Namespace)
		return driverOfPersistent(pv), err
	}
	return "", nil
}

// driverBehind names the CSI driver of a claim's volume, "" if there is none.
func (r *request) driverBehind(translate csitranslation.CSITranslator, namespace, claim string) (string, error) {
	pvc, ok := r.claims.Get(namespace, claim)
	if !ok {
		return "", missing(api.PersistentVolumeClaims.Resource, claim)
	}
	pv, ok := r.volumes.Get("", pvc.Spec.VolumeName)
	if !ok {
		return "", missing(api.PersistentVolumes.Resource, pvc.Spec.VolumeName)
	}
	if pv.Spec.CSI != nil || !translate.IsPVMigratable(pv) {
		return driverOfPersistent(pv), nil
	}
	pv, err := translate.TranslateInTreePVToCSI(klog.Background(), pv) // a copy
	return driverOfPersistent(pv), err
}

func driverOfPersistent(pv *corev1.PersistentVolume) string {
	if pv == nil || pv.Spec.CSI == nil {
		return ""
	}
	return pv.Spec.CSI.Driver
}

func (r *request) driverAsksFor(name, audience string) (bool, error) {
	driver, ok := r.drivers.Get("", name)
	if !ok {
		return false, missing(api.CSIDrivers.Resource, name)
	}
	return slices.ContainsFunc(driver.Spec.TokenRequests, func(t storagev1.TokenRequest) bool { return t.Audience == audience }), nil
}

// missing says that an object is not there as upstream's plug-in does, whose words name one of a kind, not the resource.
func missing(r api.Resource, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: r.Group, Resource: strings.ToLower(r.Kind)}, name)
}
