package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"clipper/daemon"
	"clipper/store/encrypt"
)

func newSecretsEncryption() *cobra.Command {
	cmd := &cobra.Command{Use: "secrets-encryption", Short: "See and rotate the keys of data at rest"}
	cmd.AddCommand(
		encryptionCommand(&cobra.Command{
			Use:   "status",
			Short: "Say how far a rotation is and what is not encrypted with the key in use",
		}, func(cmd *cobra.Command, server *daemon.RemoteEncryption, path string) error {
			st, err := server.Status()
			if err != nil {
				return err
			}
			return printEncryption(cmd, path, st)
		}),
		encryptionCommand(&cobra.Command{
			Use:   "rotate",
			Short: "Change to a new key, write everything again with it, and forget the old one",
			Long: `Change to a new key: it is added to the file, then written with, then everything that the old key
encrypts is written again, and the old key is removed. The server reads the file by itself. If this is interrupted,
nothing is lost: run it again, and it goes on.`,
		}, func(cmd *cobra.Command, server *daemon.RemoteEncryption, path string) error {
			return encrypt.Rotate(path, server, time.Now(), tell(cmd))
		}),
		encryptionCommand(&cobra.Command{
			Use:   "reencrypt",
			Short: "Write again what is not encrypted as the file says: after a change of the file, or of a KMS key",
		}, func(cmd *cobra.Command, server *daemon.RemoteEncryption, _ string) error {
			return encrypt.Rewrite(server, tell(cmd))
		}))
	return cmd
}

// encryptionCommand gives cmd its flags. run is called with the running server and the path of its file.
func encryptionCommand(cmd *cobra.Command, run func(cmd *cobra.Command, server *daemon.RemoteEncryption, path string) error) *cobra.Command {
	var dataDir, file string
	cmd.Flags().StringVar(&dataDir, "data-dir", daemon.DefaultDataDir, "the server's data directory")
	cmd.Flags().StringVar(&file, "encryption-provider-config", "", "the server's EncryptionConfiguration; default: its own, in the data directory")
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if file == "" {
			file = daemon.EncryptionConfigPath(dataDir)
		}
		server, err := daemon.DialEncryption(cmd.Context(), dataDir)
		if err != nil {
			return err
		}
		return run(cmd, server, file)
	}
	return cmd
}

// tell prints the steps of a rotation as they are taken.
func tell(cmd *cobra.Command) func(step string) {
	return func(step string) { fmt.Fprintln(cmd.OutOrStdout(), step) }
}

func printEncryption(cmd *cobra.Command, path string, st *encrypt.Status) error {
	stage := "keys outside of the file"
	if f, err := encrypt.ReadFile(path); err != nil {
		return err
	} else if s, err := f.Stage(); err == nil {
		stage = s.String()
	}
	hash, err := encrypt.FileHash(path)
	if err != nil {
		return err
	}
	inUse := "yes"
	if hash != st.Hash {
		inUse = "no: " + st.Error
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "File:      %s\nIn use:    %s\nRotation:  %s\nTo write:  %d objects are encrypted otherwise, or not at all\n",
		path, inUse, stage, st.Left())
	return err
}
