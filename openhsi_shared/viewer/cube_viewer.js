// Event handler of a cube viewer; `what` is the kind of the event.
const values = samples.data.values
const wavelengths = bands.data.wavelengths
const plane_of = plane.data.image[0]
const n_bands = wavelengths.length
const [n_cross, n_along] = plane_of.shape

function place_of(event) {
  const line = Math.round(event.x), pixel = Math.round(event.y)
  const i = Math.floor(line / step), j = Math.floor(pixel / step)
  const is_inside = i >= 0 && i < n_along && j >= 0 && j < n_cross
  return is_inside ? {i, j, line: i * step, pixel: j * step} : null
}

function spectrum_at(place) {
  const begin = (place.i * n_cross + place.j) * n_bands
  return Array.from({length: n_bands}, (_, k) => values[begin + k]) // subarray() of bokeh's arrays loses its offset
}

function show_band() {
  const k = slider.value
  const low = bands.data.low[k], range = bands.data.high[k] - low
  for (let i = 0; i < n_along; i++)
    for (let j = 0; j < n_cross; j++)
      plane_of[j * n_along + i] = (values[(i * n_cross + j) * n_bands + k] - low) / range
  plane.change.emit()
  mark.location = wavelengths[k]
  slider.title = `${word} ${wavelengths[k].toFixed(unit ? 1 : 0)} ${unit}`
  colours.visible = false
  band.visible = mark.visible = true
}

if (what == "hover" || what == "leave") {
  const place = what == "hover" ? place_of(cb_obj) : null
  here.data = place ? {x: Array.from(wavelengths), y: spectrum_at(place)} : {x: [], y: []}
} else if (what == "pin") {
  const place = place_of(cb_obj)
  const data = pins.data, last = pins.tags[0] ?? -1
  if (place && !(data.line[last] == place.line && data.pixel[last] == place.pixel)) { // ignore the second click of a double click
    let n = Array.from(data.line).findIndex((line) => !Number.isFinite(line))
    if (n < 0) n = (last + 1) % data.line.length
    pins.tags = [n]
    for (const [name, value] of [["xs", Array.from(wavelengths)], ["ys", spectrum_at(place)],
                                 ["line", place.line], ["pixel", place.pixel]]) {
      data[name] = Array.from(data[name])
      data[name][n] = value
    }
    pins.change.emit()
  }
} else if (what == "choose") {
  let nearest = 0
  for (let k = 1; k < n_bands; k++)
    if (Math.abs(wavelengths[k] - cb_obj.x) < Math.abs(wavelengths[nearest] - cb_obj.x)) nearest = k
  mode.active = 1
  slider.value = nearest
  show_band()
} else if (what == "slide") {
  mode.active = 1
  show_band()
} else if (mode.active == 1) {
  show_band()
} else {
  band.visible = mark.visible = false
  colours.visible = true
}
