/**
 * `nestling/qmp`: the QMP client and the guest-agent client. What is not exported here is internal to this folder.
 */
export {
  type ExecuteOptions,
  type QmpBatchItem,
  type QmpBatchResults,
  QmpClient,
  type QmpClientOptions,
} from './client.ts';
export type * from './commands.ts';
export {
  GuestAgentProtocolError,
  QmpConnectionError,
  type QmpEndReason,
  QmpError,
  QmpEventOverflowError,
} from './errors.ts';
export type { QmpEvent } from './event-hub.ts';
export { createFdSender, SendFdsError } from './fd-passing.ts';
export { type GuestAgentCallOptions, GuestAgentClient, type GuestAgentOptions } from './guest-agent.ts';
export type * from './guest-agent-commands.ts';
export { type GuestExecOptions, type GuestExecResult, runInGuest } from './guest-exec.ts';
export type { JsonObject, JsonValue } from './json.ts';
export type { QmpGreeting } from './message.ts';
export type { LoadFdSender, SendFds } from './outbox.ts';
export type { QmpTrace } from './redact.ts';
