// The camera, in a dialog.

import { part } from "./page.js";

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it in the address bar, or drop a photo here instead.",
  NotFoundError: "No camera was found. Drop a photo here instead.",
  NotReadableError: "The camera is in use by another program. Close that program and try again.",
};

/** Offers the camera where there is one to be asked for; `taken` gets the photo as a file. */
export function prepare(taken) {
  // Browsers offer it to pages from this machine, or over HTTPS, alone.
  if (!navigator.mediaDevices?.getUserMedia) return;
  const [dialog, video] = [part("camera"), part("video")];
  let stream = null;

  part("camera-open").hidden = false;
  part("camera-open").addEventListener("click", async () => {
    part("camera-text").textContent = "Waiting for the camera …";
    dialog.showModal();
    try {
      const opened = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
      if (!dialog.open) return halt(opened);
      stream = video.srcObject = opened;
      video.hidden = false;
    } catch (error) {
      part("camera-text").textContent = REASONS[error.name] ?? "The camera could not be used. Drop a photo here instead.";
    }
  });
  video.addEventListener("loadeddata", () => {
    part("shoot").hidden = false;
    part("shoot").focus();
    part("camera-text").textContent = "";
  });
  part("shoot").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      taken(new File([blob], "camera.jpg", { type: "image/jpeg" }));
    }, "image/jpeg", 0.92);
  });
  part("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    if (stream) halt(stream);
    stream = video.srcObject = null;
    video.hidden = part("shoot").hidden = true;
  });
}

function halt(stream) {
  for (const track of stream.getTracks()) track.stop();
}
