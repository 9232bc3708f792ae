package daemon

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"clipper/store/encrypt"
)

// kmsPatience is how long a start waits for KMS plug-ins that start at the same time.
const kmsPatience = time.Minute

// EncryptionConfigPath is where a server keeps its own EncryptionConfiguration.
func EncryptionConfigPath(dataDir string) string {
	return filepath.Join(dataDir, "pki", "encryption.yaml")
}

// openEncryption reads how values are encrypted. The server's own configuration is made before the store's directory
// is, so that a directory without it means that the file was lost.
func (cp *controlPlane) openEncryption(ctx context.Context, storeDir string) error {
	file := cp.options.EncryptionConfig
	if file == "" {
		file = EncryptionConfigPath(cp.options.Node.DataDir)
		_, err := os.Stat(storeDir)
		if err := encrypt.Ensure(file, filepath.Join(cp.options.Node.DataDir, "pki", "secrets.key"), err == nil); err != nil {
			return err
		}
	}
	var err error
	if cp.encryption, err = encrypt.Open(ctx, file); err != nil {
		return err
	}
	return cp.encryption.Await(ctx, kmsPatience)
}
