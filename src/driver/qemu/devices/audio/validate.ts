/** What libvirt and QEMU refuse of audio back ends. */
import type { Audio, AudioStream } from '../../../../model/domain/devices/audio.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
import { hasFeature } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';

export function validateAudio(context: DomainContext): void {
  const seen = new Set<number>();
  for (const audio of context.domain.devices?.audios ?? []) {
    if (seen.has(audio.id))
      fault(context, audio, `audio id ${audio.id} is used twice: give each back end its own`, '@id');
    seen.add(audio.id);
    validateStream(audio.input, 'input', audio, context);
    validateStream(audio.output, 'output', audio, context);
    validateBackend(audio, context);
  }
}

/** Reports a reference to a back end that is not there. */
export function validateAudioReference(
  device: object,
  reference: { id: number } | undefined,
  context: DomainContext,
): void {
  if (reference === undefined || hasAudio(context.domain, reference.id)) return;
  fault(
    context,
    device,
    `there is no audio back end with id ${reference.id}: add <audio id='${reference.id}' …/>`,
    'audio/@id',
  );
}

function hasAudio(domain: Domain, id: number): boolean {
  return domain.devices?.audios.some((audio) => audio.id === id) === true;
}

function validateStream(
  stream: AudioStream | undefined,
  field: 'input' | 'output',
  audio: Audio,
  context: DomainContext,
): void {
  if (stream === undefined) return;
  if (stream.fixedSettings === true && stream.mixingEngine !== true) {
    fault(context, audio, "fixed settings need the mixing engine: add mixingEngine='yes'", field);
  }
  if (stream.settings !== undefined && stream.fixedSettings !== true) {
    fault(
      context,
      audio,
      "settings have no effect unless they are fixed: add fixedSettings='yes'",
      `${field}/settings`,
    );
  }
}

function validateBackend(audio: Audio, context: DomainContext): void {
  const { caps, domain } = context;
  const hasGraphics = (type: string) => domain.devices?.graphics.some((graphics) => graphics.type === type) === true;
  if (audio.type === 'spice' && !hasGraphics('spice')) {
    fault(context, audio, "audio type 'spice' needs SPICE graphics: add <graphics type='spice'/>", '@type');
  } else if (audio.type === 'dbus' && !hasFeature(caps, 'display-dbus')) {
    fault(context, audio, `${caps.binary} has no D-Bus audio: use another type, or install its D-Bus module`, '@type');
  } else if (audio.type === 'pipewire' && !hasFeature(caps, 'audiodev-pipewire')) {
    fault(
      context,
      audio,
      `${caps.binary} has no PipeWire audio: use another type, or install its PipeWire module`,
      '@type',
    );
  }
}
