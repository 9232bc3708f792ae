package pipeline_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/apiservertest"
)

// Of writers that base their update on the same version one wins; the others are told.
func TestConditionalUpdatesUnderRace(t *testing.T) {
	s := apiservertest.Start(t)
	ctx := t.Context()
	cm, err := api.ConfigMaps.Create(ctx, s.Client, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "counter"}})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 50 {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				next := cm.DeepCopy()
				next.Data = map[string]string{"writer": strconv.Itoa(round*8 + i)}
				_, err := api.ConfigMaps.Update(ctx, s.Client, next)
				if err == nil {
					won.Add(1)
				} else if !apierrors.IsConflict(err) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d writers won with version %s", round, won.Load(), cm.ResourceVersion)
		}
		if cm, err = api.ConfigMaps.Get(ctx, s.Client, "default", "counter"); err != nil {
			t.Fatal(err)
		}
	}
}
