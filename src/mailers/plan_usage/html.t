{% extends "layout.html.t" %}
{% block title %}Sends of your plan{% endblock %}
{% block body %}{% if percent >= 100 %}<h1 style="margin:0 0 16px;font-size:20px">All sends of your plan are used</h1>
<p>Your account has sent the <strong>{{ limit }}</strong> messages that its plan ({{ plan }}) allows in this period. What is due waits; nothing is lost. It goes on by itself on {{ period_end }}, or at once on a larger plan.</p>
{% else %}<h1 style="margin:0 0 16px;font-size:20px">{{ percent }} % of your plan's sends are used</h1>
<p>Your account has sent <strong>{{ sends }}</strong> of the {{ limit }} messages that its plan ({{ plan }}) allows until {{ period_end }}. When all are used, what is due waits for the next period, or for a larger plan.</p>
{% endif %}<p>Plans and what they allow, and how to take one:</p>
<p><code>GET {{ public_url }}/plans</code><br>
<code>POST {{ public_url }}/billing/checkout</code></p>{% endblock %}
