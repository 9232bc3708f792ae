package csi

import (
	"context"
	"fmt"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// An ExpandError says why a volume did not grow.
type ExpandError struct {
	err error
	// Unsupported: the driver does not do it. Final: it is not still trying. Infeasible: it never will.
	// InUse: not while a pod has the volume.
	Unsupported, Final, Infeasible, InUse bool
}

func (e *ExpandError) Error() string { return e.err.Error() }
func (e *ExpandError) Unwrap() error { return e.err }

// Expand has the driver let a volume that a pod has been given grow to size bytes. The errors of the driver
// are *ExpandErrors.
func (p *Plugin) Expand(ctx context.Context, v *Volume, pod types.UID, size int64) error {
	ctx, s, err := p.open(ctx, v.Driver)
	if err != nil {
		return err
	}
	defer s.end()
	if !s.can[csipb.NodeServiceCapability_RPC_EXPAND_VOLUME] {
		return &ExpandError{err: fmt.Errorf("NodeExpand is not supported by the CSI driver %s", v.Driver), Unsupported: true, Final: true}
	}
	ref := v.PV.Spec.CSI.NodeExpandSecretRef
	secrets, err := p.secret(ctx, ref)
	if err != nil {
		return fmt.Errorf("expander.NodeExpand failed to get NodeExpandSecretRef %s/%s: %w", ref.Namespace, ref.Name, err)
	}
	req := &csipb.NodeExpandVolumeRequest{
		VolumeId: v.Handle, VolumePath: p.cfg.Dir.Told(p.Path(v, pod)), Secrets: secrets,
		CapacityRange:    &csipb.CapacityRange{RequiredBytes: size},
		VolumeCapability: s.capability(v, s.mount(v, &corev1.Pod{})),
	}
	if s.can[csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		req.StagingTargetPath = p.cfg.Dir.Told(p.stageDir(v))
	}
	if _, err := s.NodeExpandVolume(ctx, req); err != nil {
		return expandError(err)
	}
	return nil
}

func expandError(err error) *ExpandError {
	e := &ExpandError{err: fmt.Errorf("Expander.NodeExpand failed to expand the volume : %w", err), Final: isFinal(err)} //nolint:staticcheck // upstream's words
	switch status.Code(err) {
	case codes.FailedPrecondition:
		e.InUse = true
	case codes.InvalidArgument, codes.OutOfRange, codes.NotFound:
		e.Infeasible = true
	}
	return e
}
