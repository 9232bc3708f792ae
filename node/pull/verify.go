package pull

import (
	"log/slog"
	"slices"

	"k8s.io/kubelet/config/v1beta1"

	"clipper/node/credential"
	"clipper/node/kubeletconfig"
)

// rememberAtMost bounds what a mere look at a record adds to it.
const rememberAtMost = 100

// A verification says for which present images a pod must show a login that the registry has accepted.
type verification func(image string, pulledHere bool) bool

func verificationOf(c *kubeletconfig.Configuration) verification {
	switch c.ImagePullCredentialsVerificationPolicy {
	case v1beta1.NeverVerify:
		return func(string, bool) bool { return false }
	case v1beta1.AlwaysVerify:
		return func(string, bool) bool { return true }
	case v1beta1.NeverVerifyAllowlistedImages:
		return func(image string, _ bool) bool {
			return !kubeletconfig.Preloaded(c.PreloadedImagesVerificationAllowlist, image)
		}
	}
	return func(_ string, pulledHere bool) bool { return pulledHere }
}

// mustPull decides whether an image that is present has to be pulled all the same, to see whether the pod may.
func (p *Puller) mustPull(image, id string, logins func() ([]credential.Login, error)) (bool, error) {
	result, err := p.check(image, id, logins)
	p.metrics.checks.WithLabelValues(result).Inc()
	return result == mustAuthenticate || result == checkFailed, err
}

func (p *Puller) check(image, id string, logins func() ([]credential.Login, error)) (result string, _ error) {
	rec, pulledHere, err := p.history.lookup(image, id)
	if err != nil {
		slog.Error("A record of a pull cannot be read; the pod's login will be verified", "image", image, "err", err)
		return checkFailed, nil
	}
	if !p.verify(image, pulledHere) {
		return allowedByPolicy, nil
	}
	if rec == nil {
		return mustAuthenticate, nil
	}
	name, err := kubeletconfig.TrimTag(image)
	if err != nil {
		return checkFailed, nil //nolint:nilerr // a name no record can have: the registry has to say
	}
	known := rec.CredentialMapping[name]
	switch {
	case known.NodePodsAccessible:
		return recordFound, nil
	case len(known.KubernetesSecrets) == 0 && len(known.KubernetesServiceAccounts) == 0:
		return mustAuthenticate, nil
	}
	own, err := logins()
	if err != nil {
		return checkFailed, err
	}
	match, learned := recognise(known, own)
	if learned != nil && len(known.KubernetesSecrets) < rememberAtMost {
		p.history.add(image, id, &v1beta1.ImagePullCredentials{KubernetesSecrets: []v1beta1.ImagePullSecret{*learned}})
	}
	if !match {
		return mustAuthenticate, nil
	}
	return recordFound, nil
}

// recognise looks for one of the pod's logins among those that have pulled an image. A secret counts by its
// content or by its name: by the latter until its new content is known. learned is what to remember of it.
func recognise(known v1beta1.ImagePullCredentials, own []credential.Login) (match bool, learned *v1beta1.ImagePullSecret) {
	for i := range own {
		l := &own[i]
		if l.Secret == nil {
			continue
		}
		s := secretOf(l)
		for _, k := range known.KubernetesSecrets {
			sameContent := k.CredentialHash != "" && k.CredentialHash == s.CredentialHash
			sameObject := k.UID == s.UID && k.Namespace == s.Namespace && k.Name == s.Name
			switch {
			case sameContent && sameObject:
				return true, nil
			case sameContent:
				return true, &s
			case sameObject && len(known.KubernetesSecrets) < rememberAtMost:
				return true, &s
			}
		}
	}
	for i := range own {
		if own[i].ServiceAccount != nil { // a pod has one
			return slices.Contains(known.KubernetesServiceAccounts, accountOf(&own[i])), nil
		}
	}
	return false, nil
}
