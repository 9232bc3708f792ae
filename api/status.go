package api

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// WriteStatus stores the status that was found for an object as it was seen, if it says something new. field is where the
// object keeps its status. Whoever changes the object meanwhile makes it a conflict. It is no error that the object is gone.
func WriteStatus[T Object, S any](ctx context.Context, c Client, k Kind[T], seen T, field func(T) *S, found S) error {
	if equality.Semantic.DeepEqual(*field(seen), found) {
		return nil
	}
	next := seen.DeepCopyObject().(T)
	*field(next) = found
	_, err := k.UpdateStatus(ctx, c, next)
	return statusError(k.Resource, seen, err)
}

// OverwriteStatus is WriteStatus for a status that is true whatever else has changed in the same object meanwhile.
func OverwriteStatus[T Object, S any](ctx context.Context, c Client, k Kind[T], seen T, field func(T) *S, found S) error {
	if equality.Semantic.DeepEqual(*field(seen), found) {
		return nil
	}
	_, err := k.Mutate(ctx, c, seen.GetNamespace(), seen.GetName(), "status", func(now T) (bool, error) {
		if now.GetUID() != seen.GetUID() {
			return false, nil
		}
		*field(now) = found
		return true, nil
	})
	return statusError(k.Resource, seen, err)
}

func statusError(r Resource, o Object, err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("%s %s/%s: write status: %w", strings.ToLower(r.Kind), o.GetNamespace(), o.GetName(), err)
}
