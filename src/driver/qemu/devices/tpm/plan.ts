/** A TPM: its backend (`-tpmdev`), and the device that shows it to the guest. The emulator itself is in `swtpm.ts`. */
import type { Tpm } from '../../../../model/domain/devices/tpm.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import { archOf } from '../../machine.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { planFdSet, unixChardev } from '../chardev.ts';
import { planSwtpm } from './swtpm.ts';

const CHARDEV = 'chrtpm';

export function planTpm(tpm: Tpm, context: PlanContext): Part[] {
  const { model, backend } = tpm;
  const alias = tpm.alias?.name ?? '';
  if (model === 'spapr-tpm-proxy') {
    return [{ kind: 'device', props: { driver: model, id: alias, 'host-path': backend.device?.path } }];
  }
  const tpmdev = `tpm-${alias}`;
  const device: Props = { driver: driverOf(tpm, context), tpmdev, id: alias, ...addressProps(tpm, context) };
  return [...planBackend(tpm, alias, tpmdev, context), { kind: 'device', props: device }];
}

function planBackend(tpm: Tpm, alias: string, id: string, context: PlanContext): Part[] {
  const { backend } = tpm;
  if (backend.type === 'passthrough') return planPassthrough(tpm, alias, id, context);
  const path = backend.type === 'external' ? (backend.source?.path ?? '') : planSwtpm(tpm, context);
  return [unixChardev(CHARDEV, { path }, context), tpmdevPart({ type: 'emulator', id, chardev: CHARDEV })];
}

/** The host's TPM, opened by the caller. Commands under way are not cancelled: not every driver lets one. */
function planPassthrough({ backend }: Tpm, alias: string, id: string, context: PlanContext): Part[] {
  const { path = '' } = backend.device ?? {};
  const device = planFdSet(context, context.requestFd({ kind: 'file', path, flags: 'r+' }), `${alias}-tpm`);
  const sink = context.requestFd({ kind: 'file', path: '/dev/null', flags: 'w' });
  const cancel = planFdSet(context, sink, `${alias}-cancel`);
  const tpmdev = tpmdevPart({ type: 'passthrough', id, path: device.path, 'cancel-path': cancel.path });
  return [device.part, cancel.part, tpmdev];
}

/** On ARM the TIS sits on the platform bus. */
function driverOf({ model }: Tpm, { domain }: PlanContext): string {
  return model === 'tpm-tis' && archOf(domain) === 'aarch64' ? 'tpm-tis-device' : (model ?? 'tpm-tis');
}

function tpmdevPart(props: Props): Part {
  return { kind: 'keyval', option: 'tpmdev', props, implied: 'type' };
}
