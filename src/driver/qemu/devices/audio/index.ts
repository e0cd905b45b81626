/** Audio back ends: not devices of the guest, so they have no alias and no address, and are planned as a section. */
export { audiodevId, fillAudioDefaults, findAudio } from './defaults.ts';
export { planAudio } from './plan.ts';
export { validateAudio, validateAudioReference } from './validate.ts';
