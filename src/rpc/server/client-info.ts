/** What is known of a client before it says anything, and what it may have. */

/** How the client came. */
export interface ClientInfo {
  readonly transport: 'unix' | 'tls' | 'tcp';
  /** The socket itself allows reading only. */
  readonly readOnly: boolean;
  /** Nobody on the way can read along. */
  readonly isEncrypted: boolean;
  /** For logs: an address, a certificate's name. */
  readonly description: string;
}

export interface SessionLimits {
  /** Calls of one client that are worked on at a time; more wait in its socket. */
  readonly requests: number;
  /** Streams of one client that are open at a time. */
  readonly streams: number;
  /** Milliseconds after which a client that has not proved who it is is sent away. */
  readonly authenticationMs: number;
  /** Signs of life: every so many milliseconds (0: none), and how many may stay unanswered. */
  readonly keepaliveMs: number;
  readonly keepaliveCount: number;
}
