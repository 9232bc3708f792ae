package reviews

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/apiserver/authn/satoken"
	"clipper/apiserver/pipeline"
)

const (
	defaultSeconds  = 60 * 60
	shortestSeconds = 10 * 60
	longestSeconds  = 1 << 32
	// A token asked for with exactly this life, by kubelet for a pod's own use, really lasts a year, so
	// that clients that never read the file again keep working; warnafter says that they should. As upstream.
	podSeconds = 60*60 + 7
	extended   = 365 * 24 * time.Hour
)

// tokenRequest issues a token of the service account that the request names.
func (r *reviewer) tokenRequest(ctx context.Context, req *pipeline.Request, body api.Object, o metav1.CreateOptions) (runtime.Object, error) {
	tr, ok := body.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("token: the body is a %T, not a TokenRequest", body))
	}
	if tr.Spec.ExpirationSeconds == nil {
		seconds := int64(defaultSeconds)
		tr.Spec.ExpirationSeconds = &seconds
	}
	if len(tr.Spec.Audiences) == 0 {
		tr.Spec.Audiences = []string{r.Signer.Issuer()}
	}
	if faults := validateTokenRequest(&tr.Spec); len(faults) > 0 {
		return nil, invalid("TokenRequest", faults)
	}
	sa, err := api.ServiceAccounts.Get(ctx, r.Client, req.Namespace, req.Name)
	if err != nil {
		return nil, err
	}
	binding := satoken.Binding{ServiceAccount: sa, Audiences: tr.Spec.Audiences, Life: time.Duration(*tr.Spec.ExpirationSeconds) * time.Second}
	if err := r.bind(ctx, &binding, tr.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	if binding.Pod != nil && *tr.Spec.ExpirationSeconds == podSeconds && !r.Signer.WithoutAudience(tr.Spec.Audiences) {
		binding.WarnAfter, binding.Life = binding.Life, extended
	}
	now := r.Now()
	token, _, _, err := r.Signer.Sign(binding, now)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	tr.Name, tr.Namespace = sa.Name, sa.Namespace
	tr.CreationTimestamp = metav1.NewTime(now).Rfc3339Copy()
	tr.Status = authenticationv1.TokenRequestStatus{Token: token,
		ExpirationTimestamp: metav1.NewTime(now.Add(time.Duration(*tr.Spec.ExpirationSeconds) * time.Second)).Rfc3339Copy()}
	return tr, nil
}

func validateTokenRequest(spec *authenticationv1.TokenRequestSpec) (faults field.ErrorList) {
	path, seconds := field.NewPath("spec", "expirationSeconds"), *spec.ExpirationSeconds
	if seconds < shortestSeconds {
		faults = append(faults, field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > longestSeconds {
		faults = append(faults, field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return faults
}

// bind ties a token to the object of ref, which must be there with the UID of ref.
func (r *reviewer) bind(ctx context.Context, b *satoken.Binding, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	switch {
	case ref.Kind == "Pod" && ref.APIVersion == "v1":
		pod, err := api.Pods.Get(ctx, r.Client, b.ServiceAccount.Namespace, ref.Name)
		if err != nil {
			return err
		}
		if pod.Spec.ServiceAccountName != b.ServiceAccount.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", b.ServiceAccount.Name))
		}
		b.Pod = &satoken.Ref{Name: pod.Name, UID: pod.UID}
		if err := sameUID(api.Pods.Resource, ref, pod); err != nil {
			return err
		}
		b.Node = r.nodeRef(pod.Spec.NodeName)
		return nil
	case ref.Kind == "Secret" && ref.APIVersion == "v1":
		secret, err := api.Secrets.Get(ctx, r.Client, b.ServiceAccount.Namespace, ref.Name)
		if err != nil {
			return err
		}
		b.Secret = &satoken.Ref{Name: secret.Name, UID: secret.UID}
		return sameUID(api.Secrets.Resource, ref, secret)
	case ref.Kind == "Node" && ref.APIVersion == "v1":
		node, err := api.Nodes.Get(ctx, r.Client, "", ref.Name)
		if err != nil {
			return err
		}
		b.Node = &satoken.Ref{Name: node.Name, UID: node.UID}
		return sameUID(api.Nodes.Resource, ref, node)
	}
	return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s/%s", ref.APIVersion, ref.Kind))
}

// nodeRef names where a pod runs; nil for nowhere. A node that has not registered has no UID yet.
func (r *reviewer) nodeRef(name string) *satoken.Ref {
	if name == "" {
		return nil
	}
	ref := &satoken.Ref{Name: name}
	if node, ok := api.Nodes.View(r.Client).Get("", name); ok {
		ref.UID = node.UID
	}
	return ref
}

func sameUID(r api.Resource, ref *authenticationv1.BoundObjectReference, o metav1.Object) error {
	if ref.UID == "" || ref.UID == o.GetUID() {
		return nil
	}
	return apierrors.NewConflict(r.GroupResource(), ref.Name, fmt.Errorf(
		"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
}
