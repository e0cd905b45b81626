/**
 * The error that every public call rejects with: libvirt's error structure, plus the JavaScript `cause`.
 * Inner layers throw their own small classes; one mapper in `src/api` turns those into this one.
 */

/** Error numbers (`virErrorNumber`, libvirt's virterror.h) that Nestling reports. */
export const ErrorCode = {
  OK: 0,
  INTERNAL_ERROR: 1,
  NO_MEMORY: 2,
  NO_SUPPORT: 3,
  UNKNOWN_HOST: 4,
  NO_CONNECT: 5,
  INVALID_CONN: 6,
  INVALID_DOMAIN: 7,
  INVALID_ARG: 8,
  OPERATION_FAILED: 9,
  OS_TYPE: 16,
  NO_KERNEL: 17,
  XML_ERROR: 27,
  DOM_EXIST: 28,
  OPERATION_DENIED: 29,
  OPEN_FAILED: 30,
  READ_FAILED: 31,
  XML_DETAIL: 35,
  SYSTEM_ERROR: 38,
  NO_DOMAIN: 42,
  AUTH_FAILED: 45,
  OPERATION_INVALID: 55,
  INVALID_SECRET: 65,
  NO_SECRET: 66,
  CONFIG_UNSUPPORTED: 67,
  OPERATION_TIMEOUT: 68,
  ARGUMENT_UNSUPPORTED: 74,
  OPERATION_ABORTED: 78,
  NO_DOMAIN_METADATA: 80,
  OPERATION_UNSUPPORTED: 84,
  AGENT_UNRESPONSIVE: 86,
  RESOURCE_BUSY: 87,
  ACCESS_DENIED: 88,
  CPU_INCOMPATIBLE: 91,
  XML_INVALID_SCHEMA: 92,
  DEVICE_MISSING: 99,
} as const;
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

/** Where an error comes from (`virErrorDomain`, libvirt's virterror.h). */
export const ErrorDomain = {
  NONE: 0,
  XML: 5,
  DOM: 6,
  RPC: 7,
  CONF: 9,
  QEMU: 10,
  STORAGE: 18,
  NETWORK: 19,
  DOMAIN: 20,
  SECURITY: 24,
  SECRET: 30,
  CPU: 31,
  STREAMS: 38,
  EVENT: 40,
  LOCKING: 42,
  CAPABILITIES: 44,
  URI: 45,
  AUTH: 46,
  CGROUP: 54,
  FIREWALL: 59,
} as const;
export type ErrorDomain = (typeof ErrorDomain)[keyof typeof ErrorDomain];

/** How bad it is (`virErrorLevel`). */
export type ErrorLevel = 0 | 1 | 2;

export interface VirtErrorInit {
  code: ErrorCode;
  domain?: ErrorDomain;
  level?: ErrorLevel;
  str1?: string;
  str2?: string;
  str3?: string;
  int1?: number;
  int2?: number;
  cause?: unknown;
}

/** What every public operation throws. `message` names operation, object, cause and fix in one line. */
export class VirtError extends Error {
  override readonly name = 'VirtError';
  readonly code: ErrorCode;
  readonly domain: ErrorDomain;
  readonly level: ErrorLevel;
  readonly str1: string | undefined;
  readonly str2: string | undefined;
  readonly str3: string | undefined;
  readonly int1: number;
  readonly int2: number;

  constructor(message: string, init: VirtErrorInit) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = init.code;
    this.domain = init.domain ?? ErrorDomain.QEMU;
    this.level = init.level ?? 2;
    this.str1 = init.str1;
    this.str2 = init.str2;
    this.str3 = init.str3;
    this.int1 = init.int1 ?? -1;
    this.int2 = init.int2 ?? -1;
  }
}
